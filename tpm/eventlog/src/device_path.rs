//! UEFI device paths as text (UEFI specification, section 10.6.1.6), as far as boot events use them.

use crate::payload::Guid;
use crate::text;
use ccnode_evidence::Reader;

/// Renders a device path; empty for an empty one, `None` where the bytes are no device path.
pub(crate) fn render(bytes: &[u8]) -> Option<String> {
    let mut r = Reader::new(bytes);
    let mut nodes = Vec::new();
    while !r.is_empty() {
        let (kind, sub, len) = (r.u8()?, r.u8()?, r.u16()?);
        let body = r.take(usize::from(len).checked_sub(4)?)?;
        match (kind, sub) {
            (0x7f, 0xff) => break,
            (0x7f, _) => nodes.push(",".to_owned()),
            _ => nodes.push(node(kind, sub, body).unwrap_or_else(|| format!("Path({kind},{sub})"))),
        }
    }
    Some(nodes.join("/"))
}

fn node(kind: u8, sub: u8, body: &[u8]) -> Option<String> {
    let mut r = Reader::new(body);
    Some(match (kind, sub) {
        (1, 1) => {
            let (function, device) = (r.u8()?, r.u8()?);
            format!("Pci({device:#x},{function:#x})")
        }
        (1, 3) => {
            let (memory, start, end) = (r.u32()?, r.u64()?, r.u64()?);
            format!("MemoryMapped({memory:#x},{start:#x},{end:#x})")
        }
        (1, 4) => format!("VenHw({})", Guid(*r.array()?)),
        (2, 1) => match (r.u32()?, r.u32()?) {
            (0x0a03_41d0, uid) => format!("PciRoot({uid:#x})"),
            (0x0a08_41d0, uid) => format!("PcieRoot({uid:#x})"),
            (hid, uid) => format!("Acpi({hid:#010x},{uid:#x})"),
        },
        (1, 5) => format!("Ctrl({:#x})", r.u32()?),
        (2, 3) => format!("AcpiAdr({:#x})", r.u32()?),
        (3, 1) => format!("Ata({:#x},{:#x},{:#x})", r.u8()?, r.u8()?, r.u16()?),
        (3, 2) => format!("Scsi({:#x},{:#x})", r.u16()?, r.u16()?),
        (3, 5) => format!("USB({:#x},{:#x})", r.u8()?, r.u8()?),
        (3, 10) => format!("VenMsg({})", Guid(*r.array()?)),
        (3, 11) => format!("MAC({})", hex::encode(r.take(6)?)),
        (3, 12) => "IPv4()".to_owned(),
        (3, 13) => "IPv6()".to_owned(),
        (3, 18) => format!("Sata({:#x},{:#x},{:#x})", r.u16()?, r.u16()?, r.u16()?),
        (3, 23) => format!("NVMe({:#x})", r.u32()?),
        (3, 25) => format!("UFS({:#x},{:#x})", r.u8()?, r.u8()?),
        (3, 26) => format!("SD({:#x})", r.u8()?),
        (3, 29) => format!("eMMC({:#x})", r.u8()?),
        (3, 24) => format!("Uri({})", text::any(body)?),
        (4, 1) => {
            let (number, _start, _size) = (r.u32()?, r.u64()?, r.u64()?);
            let signature = Guid(*r.array()?);
            match (r.u8()?, r.u8()?) {
                (_, 2) => format!("HD({number},GPT,{signature})"),
                _ => format!("HD({number},MBR)"),
            }
        }
        (4, 2) => format!("CDROM({:#x})", r.u32()?),
        (4, 3) => format!("VenMedia({})", Guid(*r.array()?)),
        (4, 4) => text::utf16(body)?,
        (4, 6) => format!("FvFile({})", Guid(*r.array()?)),
        (4, 7) => format!("Fv({})", Guid(*r.array()?)),
        (4, 8) => {
            let (_reserved, start, end) = (r.u32()?, r.u64()?, r.u64()?);
            format!("Offset({start:#x},{end:#x})")
        }
        (4, 9) => {
            let (start, end) = (r.u64()?, r.u64()?);
            format!("RamDisk({start:#x},{end:#x})")
        }
        (5, 1) => format!("BBS({:#x})", r.u16()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_a_boot_path() {
        let file: Vec<u8> = text::to_utf16("\\EFI\\BOOT\\BOOTX64.EFI\0");
        let mut path = vec![2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 0, 3];
        path.extend([4, 4, u8::try_from(file.len() + 4).unwrap(), 0]);
        path.extend(&file);
        path.extend([0x7f, 0xff, 4, 0]);
        assert_eq!(render(&path).as_deref(), Some("PciRoot(0x0)/Pci(0x3,0x0)/\\EFI\\BOOT\\BOOTX64.EFI"));
        assert_eq!(render(&[]).as_deref(), Some(""));
    }

    #[test]
    fn refuses_nodes_shorter_than_their_head() {
        assert_eq!(render(&[1, 1, 3, 0]), None);
        assert_eq!(render(&[1, 1, 9, 0, 0]), None);
        assert_eq!(render(&[9, 9, 4, 0]).as_deref(), Some("Path(9,9)"));
    }
}
