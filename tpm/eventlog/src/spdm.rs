//! What devices say of themselves over SPDM: DEVICE_SECURITY_EVENT_DATA and its second form (Platform Firmware Profile 1.06,
//! section 10.2.7).

use crate::device_path;
use ccnode_evidence::Reader;

/// Device type of a PCI function.
const PCI: u32 = 1;

/// A device that was measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Whether its certificate chain was measured, and not its firmware or configuration.
    pub certificates: bool,
    /// Where it is, as a UEFI device path.
    pub path: String,
    /// Vendor and device of a PCI function.
    pub pci: Option<(u16, u16)>,
}

impl Device {
    /// Decodes the data of an EV_EFI_SPDM_… event, or what follows the head of an NvIndexInstance event.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let mut r = Reader::new(data);
        match r.take(16)? {
            b"SPDM Device Sec\0" => first(&mut r),
            b"SPDM Device Sec2" => second(&mut r),
            _ => None,
        }
    }
}

/// Version 1: the measurement block stands between head and device path.
fn first(r: &mut Reader<'_>) -> Option<Device> {
    let (_version, _length, _hash, device_type) = (r.u16()?, r.u16()?, r.u32()?, r.u32()?);
    let (_index, _specification, size) = (r.u8()?, r.u8()?, r.u16()?);
    r.take(usize::from(size))?;
    let path = path(r)?;
    Some(Device { certificates: false, path, pci: pci(r, device_type) })
}

/// Version 2: the device path, then a measurement block (type 0) or a certificate chain (type 1).
fn second(r: &mut Reader<'_>) -> Option<Device> {
    let (_version, _auth_state, _reserved, _length) = (r.u16()?, r.u8()?, r.u8()?, r.u32()?);
    let (device_type, sub_type, sub_length, _uid) = (r.u32()?, r.u32()?, r.u32()?, r.u64()?);
    let path = path(r)?;
    r.take(usize::try_from(sub_length).ok()?)?;
    Some(Device { certificates: sub_type == 1, path, pci: pci(r, device_type) })
}

fn path(r: &mut Reader<'_>) -> Option<String> {
    let len = r.u64()?;
    device_path::render(r.take_u64(len)?)
}

fn pci(r: &mut Reader<'_>, device_type: u32) -> Option<(u16, u16)> {
    if device_type != PCI {
        return None;
    }
    let (_version, _length) = (r.u16()?, r.u16()?);
    Some((r.u16()?, r.u16()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: [u8; 22] = [2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 0, 3, 0x7f, 0xff, 4, 0];
    const CONTEXT: [u8; 16] = [0, 0, 16, 0, 0x86, 0x80, 0x34, 0x12, 1, 0, 0, 2, 0, 0, 0, 0];

    fn with_path(mut head: Vec<u8>) -> Vec<u8> {
        head.extend(22u64.to_le_bytes());
        head.extend(PATH);
        head
    }

    #[test]
    fn reads_both_versions() {
        let mut one = b"SPDM Device Sec\0\x01\0\x60\0\0\0\0\0\x01\0\0\0\x01\x01\x03\0abc".to_vec();
        one = with_path(one);
        one.extend(CONTEXT);
        let want = Device {
            certificates: false,
            path: "PciRoot(0x0)/Pci(0x3,0x0)".into(),
            pci: Some((0x8086, 0x1234)),
        };
        assert_eq!(Device::parse(&one), Some(want.clone()));

        let head = b"SPDM Device Sec2\x02\0\x01\0\x60\0\0\0\x01\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0";
        let mut two = with_path(head.to_vec());
        two.extend(b"cert");
        two.extend(CONTEXT);
        assert_eq!(Device::parse(&two), Some(Device { certificates: true, ..want }));

        for len in 0..one.len() - 12 {
            assert!(Device::parse(&one[..len]).is_none_or(|d| d.pci.is_none()), "{len}");
        }
        assert_eq!(Device::parse(b"SPDM Device Sec3"), None);
    }
}
