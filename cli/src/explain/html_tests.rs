use super::*;

const GOOD: &[u8] = include_bytes!("../../tests/explain/good.log");
const TAMPERED: &[u8] = include_bytes!("../../tests/explain/tampered.log");
const HOSTILE: &[u8] = include_bytes!("../../tests/explain/hostile.log");
const IMAGE: &[u8] = include_bytes!("../../tests/explain/image.json");

fn of<'a>(a: &'a [u8], b: Option<&'a [u8]>) -> String {
    let a = Subject::parse("<a>", a).unwrap();
    page(&match b {
        None => Report::alone(a).unwrap(),
        Some(b) => Report::compare(a, Subject::parse("\"b\"", b).unwrap(), None).unwrap(),
    })
}

/// All tags of a page, without their attributes.
fn tags(page: &str) -> Vec<&str> {
    let names = page.split('<').skip(1).map(|rest| rest.split([' ', '>', '\n']).next().unwrap());
    names.map(|name| name.trim_start_matches('/')).collect()
}

#[test]
fn pages_hold_nothing_foreign_and_load_nothing() {
    const OURS: [&str; 29] = [
        "!doctype", "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "dl", "dt", "dd",
        "b", "br", "p", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "span", "code",
        "div", "a", "",
    ];
    for page in
        [of(HOSTILE, None), of(GOOD, Some(HOSTILE)), of(HOSTILE, Some(IMAGE)), of(TAMPERED, Some(IMAGE))]
    {
        for tag in tags(&page) {
            assert!(OURS.contains(&tag), "<{tag}>");
        }
        for word in ["<script", "<img", "src=\"", "href", "url(", "@import", "http:", "https:", "javascript"]
        {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
        assert!(page.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
        assert!(page.contains("&lt;a&gt;") || page.contains("<b>&quot;b&quot;"));
    }
}

#[test]
fn what_is_opened_is_closed() {
    for page in [of(GOOD, None), of(GOOD, Some(TAMPERED)), of(TAMPERED, Some(IMAGE)), of(GOOD, Some(GOOD))] {
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
            let name = tag.split(' ').next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if matches!(name, "!doctype" | "meta" | "br") => (),
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn a_page_says_what_the_terminal_says() {
    let page = of(TAMPERED, Some(IMAGE));
    assert!(page.contains("<p class=\"fault\">PCR 11: section .cmdline of the UKI changed</p>"), "{page}");
    // A tuple is what was expected, on whichever side.
    assert!(page.contains("<td class=\"found\"><span class=\"index\">#15</span>"));
    assert!(of(GOOD, Some(GOOD)).contains("No difference"));
    assert!(of(GOOD, None).contains("<h2>Events</h2>"));
}

#[test]
fn escapes() {
    assert_eq!(escaped("<a href='x'>&\"\u{7}"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}");
}

#[test]
fn names_cannot_turn_the_text_around() {
    assert_eq!(super::escaped("a\u{202e}b\u{9b}"), "a\u{fffd}b\u{fffd}");
}
