//! The certificate table of an extended report (GHCB specification 56421, SNP Extended Guest Request).

/// GUID of a VCEK.
pub const VCEK: &str = "63da758d-e664-4564-adc5-f4b93be8accd";
/// GUID of a VLEK.
pub const VLEK: &str = "a8074bc2-a25a-483e-aae6-39c045a0b8a1";
/// GUID of an ASK or ASVK.
pub const ASK: &str = "4ab7b379-bbac-4fe4-a02f-05aef327c782";
/// GUID of an ARK.
pub const ARK: &str = "c0b406a4-a803-4952-9743-3fb6014cd0ae";
/// GUID of revocation lists.
pub const CRL: &str = "92f81bc3-5811-4d3d-97ff-d19f88dc67ea";

/// Entries (GUID, offset, length), an entry of zeros, then the data, padded with zeros to whole pages.
pub fn certs_table(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut offset = 24 * (entries.len() + 1);
    let mut head = Vec::new();
    let mut data = Vec::new();
    for (guid, content) in entries {
        head.extend(guid_bytes(guid));
        head.extend(u32::try_from(offset).expect("small").to_le_bytes());
        head.extend(u32::try_from(content.len()).expect("small").to_le_bytes());
        offset += content.len();
        data.extend_from_slice(content);
    }
    head.extend([0; 24]);
    head.extend(data);
    head.resize(head.len().next_multiple_of(4096), 0);
    head
}

/// A GUID's bytes in the order of its text, as hosts write them into the table.
pub fn guid_bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}
