//! Makes ACPI tables to feed to a guest.

/// A secondary system description table that defines the name `CCTS` and does nothing else. `id` is its OEM table id, cut
/// or padded to 8 bytes; the firmware reports it.
#[must_use]
pub fn ssdt(id: &str) -> Vec<u8> {
    let body = b"\x08CCTS\x01";
    let mut table = b"SSDT".to_vec();
    table.extend(u32::try_from(36 + body.len()).unwrap_or(u32::MAX).to_le_bytes());
    table.extend([2, 0]);
    table.extend(padded::<6>("VMTEST"));
    table.extend(padded::<8>(id));
    table.extend(1u32.to_le_bytes());
    table.extend(b"TEST");
    table.extend(1u32.to_le_bytes());
    table.extend(body);
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = table.get_mut(9) {
        *checksum = sum.wrapping_neg();
    }
    table
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_to_zero_and_names_itself() {
        let table = ssdt("EXTRA");
        assert_eq!(table.len(), 42);
        assert_eq!(u32::from_le_bytes(table[4..8].try_into().unwrap()), 42);
        assert_eq!(table.iter().fold(0u8, |s, b| s.wrapping_add(*b)), 0);
        assert_eq!(&table[16..24], b"EXTRA   ");
    }
}
