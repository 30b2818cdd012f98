#!/usr/bin/env python3
"""Writes bookings.ndjson: 1,000 booking notifications as a booking service would hand them in.

    python3 examples/make_bookings.py            # writes examples/bookings.ndjson
    python3 examples/make_bookings.py --count 20 --seed 7 -    # twenty others, to standard output

The same seed writes the same bytes. People, houses and addresses are made up: mail goes to reserved domains only
(example.com, example.jp, .test) and, as their form is what matters, to a few carrier addresses whose local parts say
that nobody has them. The file stays usable on any day: NDJSON knows no relative times, so every `useful_until` lies
in 2099 and every `deliver_at` in the past, which means "at once".
"""

import argparse
import base64
import json
import pathlib
import random

COUNT, SEED = 1000, 7625

# kind: houses, as written in Japan and abroad
KINDS = {
    "hotel": [("ホテル青凪", "Hotel Aonagi"), ("シティホテル桜橋", "City Hotel Sakurabashi"), ("湖畔ホテル灯", "Lakeside Hotel Akari")],
    "ryokan": [("旅館 雪あかり", "Ryokan Yukiakari"), ("温泉宿 竹の音", "Takenone Onsen Inn"), ("御宿 千鳥", "Oyado Chidori")],
    "restaurant": [("割烹 いろは坂", "Kappo Irohazaka"), ("ビストロ・ミモザ", "Bistro Mimosa"), ("鮨 みなと", "Sushi Minato")],
    "clinic": [("みなと歯科クリニック", "Minato Dental Clinic"), ("ひだまり皮膚科", "Hidamari Dermatology")],
    "tour": [("かえで観光ツアー", "Kaede Tours"), ("里山ウォーク", "Satoyama Walks")],
    "rental-car": [("あおぞらレンタカー", "Aozora Rent-a-Car"), ("島めぐりレンタカー", "Island Loop Car Rental")],
}
TENANTS = {"restaurant": "umi-dining", "clinic": "minato-clinic", "tour": "kaede-tours", "rental-car": "aozora-rentacar"}
DOMAINS = {
    "hotel": "hotel.example.jp", "ryokan": "yado.example.jp", "restaurant": "dining.example.com",
    "clinic": "clinic.example.jp", "tour": "tours.example.com", "rental-car": "cars.example.com",
}
ITEMS = {
    "ja": {
        "hotel": ["スタンダードツイン", "禁煙ダブル", "スーペリアルーム(朝食付)"],
        "ryokan": ["和室十畳・一泊二食付", "露天風呂付き客室「桜」", "離れ「楓」"],
        "restaurant": ["おまかせコース", "個室・季節の会席", "ランチコース"],
        "clinic": ["定期検診", "初診", "再診"],
        "tour": ["棚田と古道を歩く一日コース", "夜景クルーズ", "酒蔵見学"],
        "rental-car": ["コンパクト(免責補償込)", "ミニバン", "軽自動車"],
    },
    "en": {
        "hotel": ["Standard Twin", "Non-smoking Double", "Superior Room with breakfast"],
        "ryokan": ["Ten-mat room, dinner and breakfast", "Room “Sakura” with open-air bath", "Annex “Kaede”"],
        "restaurant": ["Chef’s choice course", "Private room, seasonal kaiseki", "Lunch course"],
        "clinic": ["Check-up", "First visit", "Follow-up"],
        "tour": ["Day walk: rice terraces and old roads", "Night view cruise", "Sake brewery visit"],
        "rental-car": ["Compact, waiver included", "Minivan", "Kei car"],
    },
}
# language: event -> (subject, sentence); {h} house, {n} booking number, {w} when
WORDS = {
    "ja": {
        "confirmed": ("【{h}】ご予約が確定しました({n})", "ご予約ありがとうございます。下記の内容で承りました。"),
        "changed": ("【{h}】ご予約内容の変更を承りました({n})", "ご予約の変更が完了しました。変更後の内容をご確認ください。"),
        "cancelled": ("【{h}】ご予約をキャンセルしました({n})", "ご予約の取り消しを承りました。またのご利用をお待ちしております。"),
        "reminder": ("【{h}】ご予約日が近づいてまいりました({w})", "ご来店・ご到着をお待ちしております。お気をつけてお越しください。"),
        "receipt": ("【{h}】領収書のご案内({n})", "お支払いありがとうございました。領収書を添付いたします。"),
        "check-in": ("【{h}】チェックイン・ご利用手続きのご案内", "当日の手続きについてご案内いたします。ご予約番号をお手元にご用意ください。"),
    },
    "en": {
        "confirmed": ("{h}: your booking {n} is confirmed", "Thank you for booking with us. We look forward to seeing you."),
        "changed": ("{h}: your booking {n} has been changed", "Your change is in place. Please check the new details below."),
        "cancelled": ("{h}: your booking {n} is cancelled", "We have cancelled your booking. We hope to see you another time."),
        "reminder": ("{h}: see you on {w}", "This is a reminder of your booking. Have a safe trip."),
        "receipt": ("{h}: receipt for booking {n}", "Thank you for your payment. Your receipt is attached."),
        "check-in": ("{h}: how to check in", "Here is what to bring and where to go. Please keep your booking number at hand."),
    },
    "zh-Hant": {
        "confirmed": ("{h}:您的預訂 {n} 已確認", "感謝您的預訂,期待您的光臨。"),
        "changed": ("{h}:您的預訂 {n} 已變更", "變更已完成,請確認以下內容。"),
        "cancelled": ("{h}:您的預訂 {n} 已取消", "您的預訂已取消,期待下次為您服務。"),
        "reminder": ("{h}:期待您 {w} 光臨", "提醒您即將到來的預訂。"),
        "receipt": ("{h}:預訂 {n} 的收據", "感謝您的付款,收據如附件。"),
        "check-in": ("{h}:入住說明", "請準備好您的預訂編號。"),
    },
    "ko": {
        "confirmed": ("{h}: 예약 {n}이(가) 확정되었습니다", "예약해 주셔서 감사합니다."),
        "changed": ("{h}: 예약 {n}이(가) 변경되었습니다", "변경된 내용을 확인해 주세요."),
        "cancelled": ("{h}: 예약 {n}이(가) 취소되었습니다", "다음에 다시 뵙기를 바랍니다."),
        "reminder": ("{h}: {w}에 뵙겠습니다", "예약일이 다가왔습니다."),
        "receipt": ("{h}: 예약 {n} 영수증", "결제해 주셔서 감사합니다. 영수증을 첨부합니다."),
        "check-in": ("{h}: 체크인 안내", "예약 번호를 준비해 주세요."),
    },
    "fr": {
        "confirmed": ("{h} : votre réservation {n} est confirmée", "Merci de votre réservation. À très bientôt !"),
        "changed": ("{h} : votre réservation {n} a été modifiée", "Veuillez vérifier les nouveaux détails ci-dessous."),
        "cancelled": ("{h} : votre réservation {n} est annulée", "Votre réservation a bien été annulée."),
        "reminder": ("{h} : rendez-vous le {w}", "Nous vous rappelons votre réservation."),
        "receipt": ("{h} : reçu de la réservation {n}", "Merci de votre paiement. Votre reçu est joint."),
        "check-in": ("{h} : votre arrivée", "Gardez votre numéro de réservation à portée de main."),
    },
    "de": {
        "confirmed": ("{h}: Ihre Buchung {n} ist bestätigt", "Vielen Dank für Ihre Buchung. Wir freuen uns auf Sie."),
        "changed": ("{h}: Ihre Buchung {n} wurde geändert", "Bitte prüfen Sie die neuen Angaben."),
        "cancelled": ("{h}: Ihre Buchung {n} ist storniert", "Wir haben Ihre Buchung storniert."),
        "reminder": ("{h}: Bis zum {w}", "Wir erinnern an Ihre Buchung und wünschen eine gute Anreise."),
        "receipt": ("{h}: Quittung zur Buchung {n}", "Vielen Dank für Ihre Zahlung. Die Quittung liegt bei."),
        "check-in": ("{h}: Ihre Anreise", "Bitte halten Sie Ihre Buchungsnummer bereit."),
    },
}
LANGUAGES = ["ja"] * 60 + ["en"] * 24 + ["zh-Hant"] * 5 + ["ko"] * 5 + ["fr"] * 3 + ["de"] * 3
EVENTS = ["confirmed"] * 36 + ["changed"] * 12 + ["cancelled"] * 10 + ["reminder"] * 20 + ["receipt"] * 12 + ["check-in"] * 10
LABELS = {
    "ja": ("様", "予約番号", "内容", "日時", "人数", "料金", "名", "円"),
    "en": ("", "Booking", "What", "When", "Guests", "Price", "", " JPY"),
    "zh-Hant": ("", "預訂編號", "內容", "日期", "人數", "費用", "位", " 日圓"),
    "ko": ("님", "예약 번호", "내용", "일시", "인원", "요금", "명", "엔"),
    "fr": ("", "Réservation", "Prestation", "Date", "Personnes", "Prix", "", " JPY"),
    "de": ("", "Buchung", "Leistung", "Wann", "Personen", "Preis", "", " JPY"),
}
NAMELESS = {"ja": "お客様", "en": "Dear guest", "zh-Hant": "親愛的顧客", "ko": "고객님", "fr": "Bonjour", "de": "Guten Tag"}
PEOPLE = {
    "ja": (["山田", "佐藤", "鈴木", "高橋", "伊藤", "渡辺", "中村", "小林", "髙﨑", "齋藤"],
           ["太郎", "花子", "健一", "美咲", "翔", "さくら", "陽子", "大輔", "凛", "修"]),
    "en": (["Smith", "O’Hara", "Johnson", "Lee", "Garcia", "Brown", "Taylor", "Walker"],
           ["Alex", "Jordan", "Sam", "Robin", "Chris", "Morgan", "Casey", "Jamie"]),
    "zh-Hant": (["陳", "林", "黃", "張"], ["怡君", "志明", "淑芬", "家豪"]),
    "ko": (["김", "이", "박", "최"], ["민준", "서연", "지훈", "하은"]),
    "fr": (["Lefèvre", "Dubois", "Moreau"], ["Zoé", "Hélène", "François"]),
    "de": (["Müller", "Weiß", "Schäfer"], ["Jürgen", "Käthe", "Lukas"]),
}
GUEST_DOMAINS = ["example.com", "example.jp", "example.net", "example.org", "mail.example.com", "guest.test", "mailbox.test"]
# The forms that RFC 5321 forbids and old carriers gave out.
CARRIER = ["made..up-{n}@docomo.ne.jp", ".madeup-{n}@ezweb.ne.jp", "madeup-{n}.@docomo.ne.jp", "no..such.-{n}.@au.com",
           "madeup-{n}@docomo.ne.jp", "madeup..{n}@softbank.ne.jp"]


def voucher(number, house):
    """A valid one-page PDF."""
    page = f"BT /F1 18 Tf 40 120 Td (Voucher {number}) Tj 0 -28 Td /F1 12 Tf ({house}) Tj ET".encode("ascii")
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 320 180]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(page), page),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    pdf, offsets = b"%PDF-1.4\n", []
    for number_of, body in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj%s\nendobj\n" % (number_of, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(pdf)
    pdf += b"xref\n0 6\n0000000000 65535 f \n" + table
    return pdf + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start


def calendar(number, house, day, hour):
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//kakitome//bookings//EN", "BEGIN:VEVENT",
        f"UID:{number}@bookings.example.jp", "DTSTAMP:20260101T000000Z",
        f"DTSTART;TZID=Asia/Tokyo:{day.replace('-', '')}T{hour:02}0000", f"SUMMARY:{house} {number}",
        "END:VEVENT", "END:VCALENDAR", "",
    ]
    return "\r\n".join(lines).encode()


def attachment(filename, content_type, content):
    return {"filename": filename, "content_type": content_type, "content": base64.b64encode(content).decode()}


def bodies(language, sentence, name, rows):
    suffix = LABELS[language][0]
    greeting = f"{name} {suffix}".strip() if name else NAMELESS[language]
    text = "\n".join([greeting, "", sentence, "", *(f"{label}: {value}" for label, value in rows), ""])
    cells = "".join(f"<tr><th align=\"left\">{label}</th><td>{value}</td></tr>" for label, value in rows)
    html = (f"<!doctype html><html lang=\"{language}\"><body style=\"font-family:sans-serif\"><p>{greeting}</p>"
            f"<p>{sentence}</p><table cellpadding=\"6\">{cells}</table></body></html>")
    return text, html


def guest(rng, index, language):
    family, given = (rng.choice(part) for part in PEOPLE[language])
    name = f"{family} {given}" if language in ("ja", "zh-Hant", "ko") else f"{given} {family}"
    if rng.random() < 0.03:
        name = f"{family}, {given}"
    if language == "ja" and rng.random() < 0.07:
        return {"email": rng.choice(CARRIER).format(n=index), "name": name}
    if rng.random() < 0.01:
        return {"email": f"guest{index}@例え.test", "name": name}
    email = rng.choice(["guest{n}", "guest.{n}", "booking+{n}", "g-{n}"]).format(n=index)
    mailbox = {"email": f"{email}@{rng.choice(GUEST_DOMAINS)}", "name": name}
    if rng.random() < 0.1:
        del mailbox["name"]
    return mailbox


def booking(rng, index):
    kind, language, event = rng.choice(list(KINDS)), rng.choice(LANGUAGES), rng.choice(EVENTS)
    native, romaji = rng.choice(KINDS[kind])
    house = native if language == "ja" else romaji
    domain = DOMAINS[kind]
    number = f"{kind[:2].upper()}{100000 + index * 37}"
    day, hour = f"2027-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}", rng.randint(9, 19)
    when = f"{day} {hour}:00"
    person = guest(rng, index, language)
    item = rng.choice(ITEMS["ja" if language == "ja" else "en"][kind])
    guests, price = rng.randint(1, 6), rng.randint(30, 900) * 100
    _, *labels, each, yen = LABELS[language]
    rows = list(zip(labels, [number, item, when, f"{guests}{each}", f"{price:,}{yen}"]))
    subject, sentence = (part.format(h=house, n=number, w=when) for part in WORDS[language][event])
    text, html = bodies(language, sentence, person.get("name", ""), rows)

    entry = {"idempotency_key": f"booking-{number}:{event}:{rng.randint(1, 3)}"}
    if kind in TENANTS and rng.random() < 0.4:
        entry["tenant"] = TENANTS[kind]
    entry["from"] = {"email": f"reserve@{domain}", "name": house}
    entry["to"] = [person]
    if guests > 3 and rng.random() < 0.3:
        entry["to"].append({"email": f"companion{index}@example.com"})
    if rng.random() < 0.25:
        entry["cc"] = [{"email": f"front-desk@{domain}", "name": house}]
    if event == "receipt" or rng.random() < 0.05:
        entry["bcc"] = [{"email": f"accounting@{domain}"}]
    if rng.random() < 0.35:
        entry["reply_to"] = {"email": f"concierge@{domain}"}
    if rng.random() < 0.14:
        data = {"guest": person.get("name", NAMELESS[language]), "booking": number, "house": house, "item": item, "when": when,
                "guests": guests, "price": {"amount": price, "currency": "JPY"},
                "rows": [{"label": label, "value": value} for label, value in rows], "vip": rng.random() < 0.1}
        entry["template"] = {"id": f"d-booking-{event}-{language.lower()}", "data": data}
        if rng.random() < 0.5:
            entry["subject"] = subject
    else:
        entry["subject"] = subject
        form = rng.random()
        if form < 0.92:
            entry["text"] = text
        if form > 0.12:
            entry["html"] = html
    files = []
    if event == "receipt" or (event == "confirmed" and rng.random() < 0.4):
        files.append(attachment(f"voucher-{number}.pdf", "application/pdf", voucher(number, romaji)))
    if event in ("confirmed", "changed") and rng.random() < 0.4:
        name = "予約.ics" if language == "ja" else "booking.ics"
        files.append(attachment(name, "text/calendar", calendar(number, romaji, day, hour)))
    if files:
        entry["attachments"] = files
    entry["headers"] = {"X-Booking": number}
    entry["categories"] = ["booking", kind, event]
    entry["metadata"] = {"booking": number, "house": house, "language": language, "event": event}
    if event == "reminder":
        if rng.random() < 0.6:
            entry["batch"] = f"reminders-2026-{rng.randint(10, 12)}"
            entry["priority"] = "bulk"
            entry["headers"]["List-Unsubscribe"] = f"<https://{domain}/unsubscribe/{number}>"
        entry["useful_until"] = f"2099-{day[5:]}T{hour:02}:00:00+09:00"
    elif event == "check-in":
        entry["useful_until"] = f"2099-{day[5:]}T00:00:00Z"
    elif event == "receipt" and rng.random() < 0.5:
        entry["on_unknown"] = "hold"
    if rng.random() < 0.02:
        entry["deliver_at"] = f"2026-01-{rng.randint(1, 28):02}T09:00:00+09:00"
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default=pathlib.Path(__file__).with_name("bookings.ndjson"))
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many (default {COUNT})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"same seed, same file (default {SEED})")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    lines = [json.dumps(booking(rng, index), ensure_ascii=False, separators=(",", ":")) for index in range(arguments.count)]
    text = "".join(line + "\n" for line in lines)
    if str(arguments.file) == "-":
        print(text, end="")
    else:
        pathlib.Path(arguments.file).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
