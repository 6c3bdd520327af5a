# ruff: noqa: E501 (one concept per line)
"""What sellers add to a title beside the facts: spam in front and behind, and selling phrases in between."""

from components.marketplace.simulator.lexicon.tables import parse_phrases

SPAM_PREFIXES = parse_phrases("""
id | [READY STOCK] | PROMO | TERMURAH! | [COD] | BEST SELLER | [GRATIS ONGKIR] | READY
ms | [READY STOCK] | MURAH GILA! | PROMOSI | [FREE POS] | HOT SELLING | [STOK MALAYSIA]
tl | [COD] | SULIT! | ON HAND | SALE!! | [FREE SHIPPING] | MURA NA
en | 【SG Stock】 | [READY STOCK] | HOT SALE | [LOCAL SELLER] | 🔥 SALE | [FREE GIFT]
zh | 【现货】 | 【包邮】 | 热卖 | 限时特价
th | [พร้อมส่ง] | ลดราคา! | ✨ส่งฟรี✨ | [ถูกที่สุด] | ขายดี | 🔥โปรโมชั่น
vi | [FREESHIP] | HOT | SALE SỐC | (GIÁ RẺ) | [TẶNG QUÀ] | [MÃ GIẢM 20K] | SIÊU RẺ
""")
SPAM_SUFFIXES = parse_phrases("""
id | termurah | original 100% | bisa COD | garansi resmi | ready stock | grosir | murah | gratis bubble wrap
ms | original 100% | ready stock | murah | borong | jaminan tulen | harga kilang
tl | original 100% | legit | COD nationwide | mura | wholesale | free gift | sulit
en | 100% original | local warranty | ready stock | fast delivery | bundle deal | best price
zh | 正品 | 特价 | 包邮 | 现货
th | ของแท้ 100% | ส่งฟรี | พร้อมส่ง | ราคาถูก | มีเก็บเงินปลายทาง | ของแถม
vi | giá rẻ | chính hãng | cao cấp | hàng loại 1 | tặng kèm quà | bảo hành 12 tháng | freeship
""")
SELLING = parse_phrases("""
id | import | model terbaru | bahan premium | gaya korea | multifungsi | kekinian | untuk sehari hari | kualitas bagus | desain elegan | nyaman dipakai
ms | gaya korea | serbaguna | model terbaru | kualiti premium | untuk kegunaan harian | rekaan moden | tahan lama | selesa dipakai
tl | korean style | magandang quality | pang-araw-araw | bagong model | matibay | pang-regalo | trendy design | komportable gamitin
en | korean style | new arrival | premium quality | multi-purpose | daily use | minimalist design | durable | great gift idea
zh | 韩版 | 新款 | 多功能 | 高品质 | 家用 | 百搭
th | สไตล์เกาหลี | รุ่นใหม่ | คุณภาพดี | อเนกประสงค์ | ใช้ได้ทุกวัน | ดีไซน์สวย | ทนทาน | ใช้งานง่าย
vi | phong cách hàn quốc | thời trang | đa năng tiện lợi | mẫu mới nhất | chất liệu cao cấp | kiểu dáng trẻ trung | bền đẹp | dùng hằng ngày | sang trọng
""")
# How each language says that an item fits something: keeps the long titles of the real data from being lists alone.
AUDIENCE = parse_phrases("""
id | untuk pria dan wanita | untuk keluarga | untuk kado ulang tahun | cocok untuk hadiah
ms | untuk lelaki dan perempuan | sesuai untuk hadiah | untuk keluarga
tl | para sa lahat | unisex | pang pamilya | pwede pang-regalo
en | for men and women | for home and office | suitable for gifts | unisex
zh | 男女通用 | 居家办公 | 送礼佳品
th | สำหรับทุกคน | ใช้ได้ทั้งชายและหญิง | เหมาะเป็นของขวัญ
vi | cho nam và nữ | dành cho gia đình | thích hợp làm quà tặng | dùng đi học đi làm
""")
