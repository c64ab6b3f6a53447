//! What the host of an emulated guest says of it: OEM strings of SMBIOS, which no TPM measures and no image holds.

/// Where the kernel shows the SMBIOS tables.
pub const TABLES: &str = "/sys/firmware/dmi/tables/DMI";
/// What every string of ours begins with.
const OURS: &str = "ccnode.tsm:";

/// What the host says by the name `name`, as [`says`] wrote it: bytes.
///
/// # Errors
/// A value that is not hex.
pub fn told(tables: &[u8], name: &str) -> Result<Option<Vec<u8>>, String> {
    let mark = format!("{OURS}{name}=");
    let Some(at) = tables.windows(mark.len()).position(|window| window == mark.as_bytes()) else {
        return Ok(None);
    };
    let rest = tables.get(at + mark.len()..).unwrap_or_default();
    let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes: Option<Vec<u8>> = text.chunks(2).map(byte).collect();
    bytes.map(Some).ok_or_else(|| format!("{name} is not hex"))
}

/// The string by which the host says it.
pub fn says(name: &str, value: &[u8]) -> String {
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{OURS}{name}={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_told() {
        let tables =
            ["QEMU\0", &says("manifest", &[0, 0xab]), "\0", &says("measurement", &[1; 48]), "\0\0\x7f"]
                .concat();
        assert_eq!(told(tables.as_bytes(), "manifest"), Ok(Some(vec![0, 0xab])));
        assert_eq!(told(tables.as_bytes(), "measurement"), Ok(Some(vec![1; 48])));
        assert_eq!(told(tables.as_bytes(), "other"), Ok(None));
        assert!(told(b"ccnode.tsm:manifest=0\0", "manifest").is_err());
        assert!(told(b"ccnode.tsm:manifest=zz\0", "manifest").is_err());
    }
}
