# ruff: noqa: E501 (one concept per line)
"""The simulator's product types: what they are called, cost, and which attributes they come with (all invented)."""

from dataclasses import dataclass

from components.marketplace.simulator.lexicon.tables import Forms, parse_concepts


@dataclass(frozen=True)
class ProductType:
    """A kind of thing that is sold.

    Attributes:
        key: its name in this project.
        category: the leaf category its items are listed under.
        price: median price in US dollars.
        names: language -> surface forms, the usual one first.
        features: keys of `lexicon.attributes.FEATURES` an item may have (one of each).
        specs: model or size marks, the same in every language.
        coloured: whether items come in colours.
    """

    key: str
    category: str
    price: float
    names: Forms
    features: tuple[str, ...]
    specs: tuple[str, ...]
    coloured: bool


_NAMES = parse_concepts("""
phone_case | casing hp; softcase hp; sarung hp | sarung telefon; casing telefon; cover fon | case ng cellphone; phone case; cover ng cp | phone case; mobile cover; handphone casing | 手机壳; 手机保护套 | เคสมือถือ; เคสโทรศัพท์; ซองมือถือ | ốp lưng điện thoại; ốp điện thoại; bao da điện thoại
power_bank | power bank; baterai cadangan; charger portabel | power bank; bank kuasa; pengecas mudah alih | power bank; portable charger; pang-charge | power bank; portable charger; external battery | 充电宝; 移动电源 | พาวเวอร์แบงค์; แบตสำรอง; เพาเวอร์แบงค์ | sạc dự phòng; pin dự phòng; cục sạc dự phòng
charging_cable | kabel charger; kabel data; kabel cas | kabel pengecas; wayar cas; kabel data | charging cable; kable ng charger; data cable | charging cable; charger cord; data cable | 充电线; 数据线 | สายชาร์จ; สายชาร์จมือถือ; สายดาต้า | cáp sạc; dây sạc điện thoại; dây cáp dữ liệu
earbuds | earphone tws; headset telinga; earbud | fon telinga; earbud; earphone tws | earphone; earbuds; pang-tenga na tws | earbuds; in-ear earphones; tws earpiece | 耳机; 入耳式耳塞 | หูฟังเอียร์บัด; หูฟังอินเอียร์; หูฟังบลูทูธ tws | tai nghe nhét tai; tai nghe true wireless; tai nghe earbuds
speaker | speaker bluetooth; pengeras suara; salon aktif | pembesar suara; speaker bluetooth; spiker | bluetooth speaker; speaker; pampatugtog | bluetooth speaker; loudspeaker; sound box | 蓝牙音箱; 音响 | ลำโพงบลูทูธ; ลำโพง; เครื่องเสียงพกพา | loa bluetooth; loa nghe nhạc; loa di động
headphones | headphone; headset bando; headphone over ear | fon kepala; headphone; set kepala | headphones; headset; headphone pang-ulo | headphones; over-ear headset; headset with mic | 头戴式耳机; 耳麦 | หูฟังครอบหู; เฮดโฟน; หูฟังเฮดเซ็ต | tai nghe chụp tai; tai nghe headphone; headset có mic
mouse | mouse komputer; tetikus; mouse laptop | tetikus; mouse komputer; mouse laptop | mouse; mouse ng computer; pc mouse | computer mouse; optical mouse; pc mouse | 鼠标; 电脑滑鼠 | เมาส์; เมาส์คอมพิวเตอร์; เม้าส์ | chuột máy tính; chuột quang; chuột vi tính
keyboard | keyboard komputer; papan ketik; kibor | papan kekunci; keyboard komputer; keyboard laptop | keyboard; keyboard ng computer; tipaan | keyboard; computer keyboard; pc keypad | 键盘; 电脑键盘 | คีย์บอร์ด; แป้นพิมพ์; คีบอร์ด | bàn phím máy tính; bàn phím; keyboard pc
usb_drive | flashdisk; usb flash drive; penyimpan data usb | pemacu usb; pendrive; thumbdrive | flash drive; usb; imbakan ng file | usb drive; thumb drive; memory stick | u盘; 随身碟 | แฟลชไดรฟ์; ทัมบ์ไดรฟ์; ยูเอสบีไดรฟ์ | usb lưu trữ; ổ cứng usb; thẻ nhớ usb
dress | gaun wanita; dress; terusan perempuan | gaun; dress perempuan; baju gaun | bestida; dress pambabae; daster | dress; women gown; one-piece frock | 连衣裙; 女装裙子 | ชุดเดรส; เดรสผู้หญิง; กระโปรงชุด | váy đầm; đầm nữ; váy liền thân
handbag | tas wanita; tas tangan; handbag | beg tangan; handbag wanita; beg perempuan | handbag; bag pambabae; hand bag ng babae | handbag; ladies purse; women tote | 女士手提包; 女包 | กระเป๋าถือ; กระเป๋าผู้หญิง; กระเป๋าสะพายหญิง | túi xách nữ; túi cầm tay; giỏ xách nữ
sandals | sandal wanita; sendal; selop | sandal wanita; selipar; kasut terbuka | sandals pambabae; tsinelas; sandalyas | sandals; women slippers; open-toe slides | 凉鞋; 女拖鞋 | รองเท้าแตะ; รองเท้าแตะหญิง; รองเท้าสาน | dép sandal nữ; giày sandal; dép quai hậu
t_shirt | kaos pria; baju kaos; tshirt | baju t; kemeja t lelaki; tshirt | t-shirt panlalaki; tshirt; kamiseta | t-shirt; men tee; crew neck top | 男士t恤; 短袖上衣 | เสื้อยืด; เสื้อทีเชิ้ต; เสื้อคอกลม | áo thun nam; áo phông; áo cổ tròn
wallet | dompet pria; dompet lipat; wallet | dompet lelaki; wallet; beg duit | pitaka; wallet panlalaki; kalupi | wallet; men billfold; card holder purse | 男士钱包; 皮夹 | กระเป๋าสตางค์; กระเป๋าตังค์; กระเป๋าเงินชาย | ví nam; bóp nam; ví đựng tiền
sneakers | sepatu sneakers; sepatu kets; sepatu pria | kasut sneakers; kasut sukan; kasut kanvas | sapatos na sneakers; rubber shoes; sneakers | sneakers; trainers shoes; canvas kicks | 运动鞋; 球鞋 | รองเท้าผ้าใบ; รองเท้าสนีกเกอร์; รองเท้ากีฬา | giày sneaker; giày thể thao; giày vải
lipstick | lipstik; gincu; pewarna bibir | gincu; lipstik; pewarna bibir | lipstick; pang-labi; lip color | lipstick; lip colour; lip tint | 口红; 唇膏 | ลิปสติก; ลิปทินท์; ลิป | son môi; son thỏi; cây son
sunscreen | sunscreen; tabir surya; sunblock | pelindung matahari; sunscreen; krim matahari | sunscreen; sunblock; proteksyon sa araw | sunscreen; sunblock; uv protection cream | 防晒霜; 防晒乳 | ครีมกันแดด; กันแดด; ซันสกรีน | kem chống nắng; sữa chống nắng; kem che nắng
serum | serum wajah; essence muka; serum | serum muka; pati wajah; serum | face serum; serum sa mukha; essence | face serum; facial essence; skin ampoule | 精华液; 面部精华 | เซรั่มบำรุงหน้า; เซรั่ม; เอสเซนส์ | serum dưỡng da; tinh chất dưỡng; serum mặt
rice_cooker | rice cooker; penanak nasi; magic com | periuk nasi; periuk elektrik; rice cooker | rice cooker; saingan ng bigas; kaldero elektrik | rice cooker; electric rice pot; steamer cooker | 电饭煲; 电饭锅 | หม้อหุงข้าว; หม้อหุงข้าวไฟฟ้า; หม้อข้าว | nồi cơm điện; nồi nấu cơm; nồi cơm
frying_pan | wajan; penggorengan; teflon | kuali; pan kuali; periuk goreng | kawali; frying pan; pangprito | frying pan; skillet; wok pan | 平底锅; 炒锅 | กระทะ; กระทะทอด; กะทะ | chảo; chảo chiên; chảo rán
water_bottle | botol minum; tumbler; termos air | botol air; tumbler; termos | water bottle; tumbler; inuman ng tubig | water bottle; tumbler; drinking flask | 水杯; 保温瓶 | ขวดน้ำ; กระติกน้ำ; แก้วเก็บน้ำ | bình nước; bình giữ nhiệt; chai nước
bedsheet | sprei; seprai kasur; bed cover | cadar; set cadar; alas tilam | bedsheet; sapin sa kama; kubrekama | bedsheet; fitted sheet set; bed linen | 床单; 床上四件套 | ผ้าปูที่นอน; ชุดเครื่องนอน; ผ้าปูเตียง | ga trải giường; drap giường; bộ chăn ga
curtain | gorden; tirai jendela; hordeng | langsir; tirai; langsir tingkap | kurtina; curtain; tabing sa bintana | curtain; window drape; blinds | 窗帘; 遮光帘 | ผ้าม่าน; ม่านหน้าต่าง; ม่าน | rèm cửa; màn cửa; rèm che
desk_lamp | lampu meja; lampu belajar; lampu baca | lampu meja; lampu belajar; lampu baca | desk lamp; ilawan sa mesa; lampara | desk lamp; table light; study lamp | 台灯; 学习灯 | โคมไฟตั้งโต๊ะ; โคมไฟอ่านหนังสือ; ไฟตั้งโต๊ะ | đèn bàn; đèn học; đèn để bàn
diapers | popok bayi; pampers bayi; diaper | lampin bayi; lampin pakai buang; diaper | diaper; lampin ng baby; diaper ni baby | diapers; baby nappies; disposable nappy pants | 纸尿裤; 婴儿尿片 | ผ้าอ้อม; แพมเพิส; ผ้าอ้อมสำเร็จรูป | tã em bé; bỉm; tã quần
baby_bottle | botol susu bayi; dot bayi; botol dot | botol susu; botol bayi; botol susu anak | baby bottle; dede ng baby; bote ng gatas | baby bottle; milk feeder; nursing bottle | 奶瓶; 婴儿奶瓶 | ขวดนม; ขวดนมเด็ก; ขวดนมทารก | bình sữa; bình bú; bình sữa cho bé
stroller | stroller bayi; kereta dorong; kereta bayi | kereta sorong bayi; stroller; kereta tolak | stroller; andador na de-gulong; baby carriage | baby stroller; pushchair; pram | 婴儿车; 婴儿推车 | รถเข็นเด็ก; รถเข็นทารก; สโตรเลอร์ | xe đẩy em bé; xe nôi; xe đẩy trẻ em
yoga_mat | matras yoga; alas yoga; karpet senam | tikar yoga; mat senaman; alas yoga | yoga mat; banig pang-yoga; exercise mat | yoga mat; exercise mat; pilates pad | 瑜伽垫; 健身垫 | เสื่อโยคะ; แผ่นรองโยคะ; เสื่อออกกำลังกาย | thảm yoga; thảm tập; thảm thể dục
dumbbell | dumbel; barbel; beban angkat | dumbel; pemberat tangan; besi angkat | dumbbell; pabigat; barbell | dumbbell; hand weights; gym weight set | 哑铃; 健身哑铃 | ดัมเบล; ดัมเบลล์; ที่ยกน้ำหนัก | tạ tay; tạ tập gym; quả tạ
goggles | kacamata renang; goggles renang; google renang | cermin renang; goggles renang; kaca mata selam | swimming goggles; salamin pang-swimming; goggles | swimming goggles; swim glasses; diving eyewear | 泳镜; 游泳眼镜 | แว่นตาว่ายน้ำ; แว่นว่ายน้ำ; แว่นดำน้ำ | kính bơi; kính lặn; mắt kính bơi
""")

# key: category, US dollars, features, specs, coloured
_FACTS: dict[str, tuple[str, float, str, str, bool]] = {
    "phone_case": (
        "Phone Accessories",
        2.5,
        "transparent shockproof magnetic leather",
        "Nova 12;Orbit 9 Pro;Zeno X5",
        True,
    ),
    "power_bank": ("Phone Accessories", 9.0, "fast_charge mini magnetic", "10000mAh;20000mAh;30000mAh", True),
    "charging_cable": ("Phone Accessories", 1.8, "fast_charge magnetic thick", "1m;2m;60W", False),
    "earbuds": ("Audio", 11.0, "wireless noise_cancelling waterproof gaming", "V5.3;Gen 2;Pro", True),
    "speaker": ("Audio", 14.0, "waterproof mini large led", "10W;20W;60W", True),
    "headphones": ("Audio", 16.0, "wireless noise_cancelling gaming foldable", "7.1;Gen 2;Studio", True),
    "mouse": ("Computer Accessories", 6.0, "wireless silent gaming rechargeable", "1600 DPI;3200 DPI;7200 DPI", True),
    "keyboard": ("Computer Accessories", 13.0, "wireless mechanical gaming foldable", "61 keys;87 keys;104 keys", True),
    "usb_drive": ("Computer Accessories", 5.0, "mini waterproof fast_charge", "32GB;64GB;128GB", False),
    "dress": ("Women's Fashion", 8.0, "floral plain long_sleeve cotton", "S;M;L;XL", True),
    "handbag": ("Women's Fashion", 10.0, "leather mini large travel", "20cm;25cm;30cm", True),
    "sandals": ("Women's Fashion", 6.0, "leather waterproof thick", "36;37;38;39", True),
    "t_shirt": ("Men's Fashion", 4.0, "cotton oversize plain long_sleeve", "M;L;XL;XXL", True),
    "wallet": ("Men's Fashion", 5.0, "leather mini foldable", "12cm;19cm", True),
    "sneakers": ("Men's Fashion", 18.0, "leather waterproof kids plain", "40;41;42;43", True),
    "lipstick": ("Beauty", 4.0, "matte waterproof mini", "01;02;05;3.5g", True),
    "sunscreen": ("Beauty", 6.0, "brightening sensitive_skin waterproof kids", "SPF30;SPF50+;50ml", False),
    "serum": ("Beauty", 7.0, "brightening sensitive_skin mini", "15ml;30ml;50ml", False),
    "rice_cooker": ("Kitchen", 30.0, "mini large non_stick stainless", "0.8L;1.2L;1.8L", False),
    "frying_pan": ("Kitchen", 9.0, "non_stick stainless large", "20cm;24cm;28cm", True),
    "water_bottle": ("Kitchen", 5.0, "insulated stainless large kids", "500ml;750ml;1L", True),
    "bedsheet": ("Home", 9.0, "cotton floral plain kids", "160x200;180x200;Queen;King", True),
    "curtain": ("Home", 8.0, "blackout floral plain", "1.5m;2m;2.5m", True),
    "desk_lamp": ("Home", 8.0, "led rechargeable foldable", "5W;9W;12W", True),
    "diapers": ("Mother & Baby", 12.0, "newborn thick sensitive_skin", "S 40;M 34;L 30;XL 26", False),
    "baby_bottle": ("Mother & Baby", 5.0, "newborn insulated large", "120ml;180ml;240ml", True),
    "stroller": ("Mother & Baby", 75.0, "foldable travel newborn", "0-3Y;7kg;Lite", True),
    "yoga_mat": ("Sports", 8.0, "thick foldable travel", "6mm;8mm;10mm", True),
    "dumbbell": ("Sports", 15.0, "women stainless large", "2kg;5kg;10kg", True),
    "goggles": ("Sports", 5.0, "kids anti_fog travel", "UV400;-2.0;-4.0", True),
}

PRODUCT_TYPES: tuple[ProductType, ...] = tuple(
    ProductType(key, category, price, _NAMES[key], tuple(features.split()), tuple(specs.split(";")), coloured)
    for key, (category, price, features, specs, coloured) in _FACTS.items()
)
