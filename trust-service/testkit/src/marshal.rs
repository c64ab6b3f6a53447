//! TPM structures as a TPM writes them: big-endian, sizes before bytes.

pub(crate) const SHA256: u16 = 0x000b;
pub(crate) const SHA384: u16 = 0x000c;

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a short buffer");
    [&len.to_be_bytes(), bytes].concat()
}

/// The parts of a TPMS_ATTEST of type quote.
pub(crate) struct Attest<'a> {
    pub(crate) magic: u32,
    pub(crate) tag: u16,
    pub(crate) signer: &'a [u8],
    pub(crate) extra: &'a [u8],
    pub(crate) clock: (u64, u32, u32, u8),
    pub(crate) selections: &'a [(u16, Vec<u8>)],
    pub(crate) pcr_digest: &'a [u8],
}

impl Attest<'_> {
    pub(crate) fn marshal(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.magic.to_be_bytes());
        out.extend(self.tag.to_be_bytes());
        out.extend(sized(self.signer));
        out.extend(sized(self.extra));
        let (clock, resets, restarts, safe) = self.clock;
        out.extend(clock.to_be_bytes());
        out.extend(resets.to_be_bytes());
        out.extend(restarts.to_be_bytes());
        out.push(safe);
        out.extend(0x2019_1023_0016_3636u64.to_be_bytes());
        out.extend(u32::try_from(self.selections.len()).expect("few banks").to_be_bytes());
        for (bank, bitmap) in self.selections {
            out.extend(bank.to_be_bytes());
            out.push(u8::try_from(bitmap.len()).expect("a short bitmap"));
            out.extend(bitmap);
        }
        out.extend(sized(self.pcr_digest));
        out
    }
}

/// TPMT_PUBLIC of an RSA-2048 endorsement key (TCG EK Credential Profile, template L-1).
pub(crate) fn endorsement_key(modulus: &[u8]) -> Vec<u8> {
    const POLICY: &str = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
    let policy = data_encoding::HEXLOWER.decode(POLICY.as_bytes()).expect("hex");
    [
        &[0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2][..],
        &sized(&policy),
        &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0],
        &sized(modulus),
    ]
    .concat()
}
