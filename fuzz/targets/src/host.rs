//! What a host hands in: init-data, whose hints are bounded whatever they say.

use crate::printable;
use ccnode_protocol::init_data::{InitData, MAX_FILE, MAX_FILES, MAX_NAME, Proxy, is_host_address};
use std::path::{Component, Path};

pub(crate) fn init_data(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let hints = match text.parse::<InitData>() {
        Ok(data) => data.hints,
        Err(error) => {
            let words = error.to_string();
            assert!(words.len() < 512 && words.is_ascii(), "{words:?}");
            return printable(&words);
        }
    };
    if let Some(a) = hints.address {
        assert!(is_host_address(a.address) && (1..=32).contains(&a.prefix) && a.dns.len() <= 3, "{a:?}");
        assert!(a.gateway.into_iter().chain(a.dns).all(is_host_address));
    }
    if let Some(proxy) = hints.proxy {
        let text = proxy.to_string();
        printable(&text);
        assert!(text.is_ascii() && !text.contains(['@', '?', '#', ' ']), "{text}");
        assert_eq!(text.parse::<Proxy>().as_ref(), Ok(&proxy));
    }
    assert!(hints.files.len() <= MAX_FILES);
    assert!(hints.files.iter().map(|file| file.content.len()).sum::<usize>() <= bytes.len());
    for file in hints.files {
        assert!(file.name.len() <= MAX_NAME && file.content.len() <= MAX_FILE);
        let mut parts = Path::new(&file.name).components();
        let plain =
            matches!(parts.next(), Some(Component::Normal(part)) if part.to_str() == Some(&file.name));
        assert!(plain && parts.next().is_none(), "{:?}", file.name);
    }
}
