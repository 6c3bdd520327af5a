# ruff: noqa: E501 (one concept per line)
"""Colours, features and brands of the simulator's items (brands are invented)."""

from components.marketplace.simulator.lexicon.tables import parse_concepts

COLOURS = parse_concepts("""
black | hitam | hitam | itim | black | 黑色 | สีดำ | màu đen; đen
white | putih | putih | puti | white | 白色 | สีขาว | màu trắng; trắng
red | merah | merah | pula | red | 红色 | สีแดง | màu đỏ; đỏ
blue | biru | biru | asul | blue; navy | 蓝色 | สีน้ำเงิน; สีฟ้า | xanh dương; xanh biển
green | hijau | hijau | berde | green | 绿色 | สีเขียว | xanh lá; màu xanh lá
pink | merah muda; pink | merah jambu; pink | rosas; pink | pink | 粉色 | สีชมพู | màu hồng; hồng
grey | abu-abu; abu | kelabu | abuhin; gray | grey; gray | 灰色 | สีเทา | màu xám; xám
brown | coklat; cokelat | coklat; perang | kayumanggi; brown | brown; tan | 棕色 | สีน้ำตาล | màu nâu; nâu
""")

FEATURES = parse_concepts("""
wireless | tanpa kabel; nirkabel; wireless | tanpa wayar; wireless | walang wire; wireless | wireless; cordless | 无线 | ไร้สาย | không dây
waterproof | anti air; tahan air | kalis air; tahan air | hindi nababasa; waterproof | waterproof; water resistant | 防水 | กันน้ำ | chống nước; không thấm nước
foldable | lipat; bisa dilipat | boleh lipat; lipat | natitiklop; foldable | foldable; folding | 可折叠 | พับได้ | gấp gọn; gập được
mini | mini; kecil | mini; kecil | maliit; mini | mini; compact | 迷你; 小号 | ขนาดเล็ก; มินิ | mini; nhỏ gọn
large | besar; jumbo | besar; saiz besar | malaki; jumbo | large; jumbo | 大号 | ขนาดใหญ่; จัมโบ้ | cỡ lớn; to
leather | kulit asli; kulit | kulit; kulit lembu | balat; genuine leather | leather; genuine leather | 真皮; 皮革 | หนังแท้; หนัง | da bò; da thật
cotton | katun; bahan katun | kapas; kain kapas | koton; cotton | cotton; pure cotton | 纯棉; 棉 | ผ้าฝ้าย; คอตตอน | vải cotton; chất cotton
stainless | stainless steel; baja anti karat | keluli tahan karat; stainless | stainless; hindi kinakalawang | stainless steel; rustproof steel | 不锈钢 | สแตนเลส | inox; thép không gỉ
rechargeable | isi ulang; bisa dicas | boleh dicas semula; rechargeable | nacha-charge; rechargeable | rechargeable; usb charged | 可充电 | ชาร์จได้ | sạc lại được; pin sạc
fast_charge | fast charging; pengisian cepat | pengecasan pantas; fast charge | mabilis mag-charge; fast charging | fast charging; quick charge | 快充; 高速 | ชาร์จเร็ว; ความเร็วสูง | sạc nhanh; tốc độ cao
noise_cancelling | peredam bising; noise cancelling | bunyi senyap; noise cancelling | pantanggal ingay; noise cancelling | noise cancelling; anc | 降噪 | ตัดเสียงรบกวน | chống ồn; khử tiếng ồn
magnetic | magnetik; magnet | magnetik; bermagnet | may magnet; magnetic | magnetic; magnet | 磁吸 | แม่เหล็ก | nam châm; hít nam châm
transparent | bening; transparan | lutsinar; jernih | malinaw; clear | clear; transparent | 透明 | แบบใส; ใส | trong suốt
shockproof | anti banting; tahan benturan | kalis hentakan; anti pecah | hindi nababasag; shockproof | shockproof; drop proof | 防摔 | กันกระแทก | chống sốc; chống va đập
mechanical | mekanik; mechanical | mekanikal | mekanikal; mechanical | mechanical | 机械 | แมคคานิคอล; กลไก | cơ
silent | tanpa suara; senyap | senyap; tiada bunyi | tahimik; silent click | silent; quiet click | 静音 | ไร้เสียง; เสียงเงียบ | không tiếng ồn; yên tĩnh
gaming | gaming; untuk game | gaming; permainan | pang-laro; gaming | gaming; for gamers | 电竞; 游戏 | เกมมิ่ง; สำหรับเล่นเกม | chơi game; gaming
non_stick | anti lengket | tidak melekat; non stick | hindi dumidikit; non-stick | non-stick; nonstick | 不粘 | เคลือบกันติด; ไม่ติดกระทะ | chống dính
kids | anak; untuk anak | kanak-kanak; budak | pambata; para sa bata | kids; for children | 儿童 | สำหรับเด็ก; เด็ก | trẻ em; cho bé
women | wanita; perempuan | wanita; perempuan | pambabae; para sa babae | for women; ladies | 女士 | สำหรับผู้หญิง; ผู้หญิง | cho nữ; phụ nữ
travel | travel; untuk perjalanan | travel; untuk melancong | pang-biyahe; travel | travel; portable | 旅行; 便携 | พกพา; สำหรับเดินทาง | du lịch; mang đi
long_sleeve | lengan panjang | lengan panjang | mahabang manggas; long sleeve | long sleeve; full sleeves | 长袖 | แขนยาว | tay dài; dài tay
oversize | oversize; longgar | oversize; longgar | maluwag; oversized | oversized; loose fit | 宽松 | โอเวอร์ไซส์; ทรงหลวม | form rộng; oversize
matte | matte; doff | matte; tidak berkilat | matte; hindi makintab | matte; non-shiny | 哑光 | เนื้อแมท; แมตต์ | lì; không bóng
brightening | mencerahkan; brightening | mencerahkan; pencerah | pampaputi; brightening | brightening; whitening | 美白 | ผิวกระจ่างใส; ไวท์เทนนิ่ง | trắng da; sáng da
sensitive_skin | kulit sensitif | kulit sensitif | sensitibong balat; sensitive skin | sensitive skin; gentle | 敏感肌 | ผิวแพ้ง่าย; อ่อนโยน | da nhạy cảm; dịu nhẹ
newborn | bayi baru lahir; newborn | bayi baru lahir; newborn | bagong silang; newborn | newborn; infant | 新生儿 | เด็กแรกเกิด; แรกเกิด | sơ sinh; trẻ sơ sinh
thick | tebal; ekstra tebal | tebal; lebih tebal | makapal; extra thick | thick; heavy duty | 加厚 | แบบหนา; หนาพิเศษ | dày; siêu dày
floral | motif bunga; bunga | corak bunga; bunga | bulaklakin; floral | floral; flower print | 碎花 | ลายดอก; ลายดอกไม้ | hoa nhí; in hoa
plain | polos | kosong; tanpa corak | walang disenyo; plain | plain; solid colour | 纯色 | สีพื้น; เรียบ | trơn; đơn giản
blackout | anti tembus cahaya; blackout | kalis cahaya; blackout | pangharang sa liwanag; blackout | blackout; light blocking | 全遮光 | กันแสง; กันแดดทึบ | chống nắng; cản sáng
insulated | tahan panas dingin; vakum | tahan panas; vakum | pang-mainit at malamig; insulated | insulated; vacuum | 保温 | เก็บความเย็น; สุญญากาศ | giữ nhiệt; cách nhiệt
led | led; lampu led | led; lampu led | may ilaw; led | led; with lights | led灯; 发光 | led; มีไฟ | đèn led; phát sáng
anti_fog | anti embun | anti kabus | hindi lumalabo; anti-fog | anti-fog; fogless | 防雾 | กันฝ้า | chống sương mù; chống mờ
""")

# Some brands sell in several categories, so that a brand alone does not tell the product type.
BRANDS: dict[str, tuple[str, ...]] = {
    "Phone Accessories": ("Voltiq", "Kasera", "Lumora", "Zentek", "Orbix"),
    "Audio": ("Sonarc", "Lumora", "Beatora", "Zentek", "Aurivo"),
    "Computer Accessories": ("Zentek", "Klavio", "Orbix", "Tikra", "Voltiq"),
    "Women's Fashion": ("Melati", "Rosalie", "Viora", "Saffira", "Nadine"),
    "Men's Fashion": ("Borneo", "Ranger Co", "Viora", "Tarrak", "Kavaleri"),
    "Beauty": ("Nadine", "Glowia", "Purela", "Saffira", "Hanami"),
    "Kitchen": ("Dapura", "Hearthly", "Kokina", "Nasira", "Steelo"),
    "Home": ("Hearthly", "Lumora", "Selimut", "Kokina", "Casara"),
    "Mother & Baby": ("Babyra", "Purela", "Kiddo Joy", "Momami", "Casara"),
    "Sports": ("Tarrak", "Fitra", "Ranger Co", "Aquora", "Gymio"),
}
