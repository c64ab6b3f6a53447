//! Reads back what a software TPM was asked and answered, from swtpm's own log: what a guest did before it went off.

/// TPM_CC_PCR_Extend.
const PCR_EXTEND: u32 = 0x182;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;

/// A command with its answer, as they crossed between machine and TPM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// The command, from its tag on.
    pub command: Vec<u8>,
    /// The answer, from its tag on; empty where the TPM gave none.
    pub answer: Vec<u8>,
}

impl Exchange {
    /// The command's TPM_CC.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        word(self.command.get(6..)?)
    }

    /// Whether the TPM did it.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.answer.get(6..).and_then(word) == Some(0)
    }

    /// PCR and SHA-256 digest of an extension.
    #[must_use]
    pub fn extension(&self) -> Option<(u32, [u8; 32])> {
        if self.code() != Some(PCR_EXTEND) {
            return None;
        }
        // Tag, size and code; PCR; size of the authorization area, and the area.
        let pcr = word(self.command.get(10..)?)?;
        let area = usize::try_from(word(self.command.get(14..)?)?).ok()?;
        let digests = self.command.get(18usize.checked_add(area)?..)?;
        let rest = digests.get(4..)?;
        // Only a first digest that is SHA-256: the TPMs here have that bank alone.
        let algorithm = u16::from_be_bytes(rest.first_chunk().copied()?);
        let digest = rest.get(2..)?.first_chunk().copied()?;
        (algorithm == SHA256).then_some((pcr, digest))
    }
}

/// The exchanges in a log of level 20.
#[must_use]
pub fn exchanges(log: &str) -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let command = line.starts_with("SWTPM_IO_Read:");
        if !command && !line.starts_with("SWTPM_IO_Write:") {
            continue;
        }
        let mut bytes = Vec::new();
        while let Some(more) = lines.peek().copied().and_then(hex) {
            bytes.extend(more);
            lines.next();
        }
        match (command, found.last_mut()) {
            (true, _) => found.push(Exchange { command: bytes, answer: Vec::new() }),
            (false, Some(last)) => last.answer = bytes,
            (false, None) => {}
        }
    }
    found
}

/// SHA-256 digests that were extended into `pcr`, in their order; what the TPM refused does not count.
#[must_use]
pub fn extensions(log: &str, pcr: u32) -> Vec<[u8; 32]> {
    let done = exchanges(log).into_iter().filter(Exchange::succeeded);
    done.filter_map(|e| e.extension()).filter(|(p, _)| *p == pcr).map(|(_, digest)| digest).collect()
}

/// A line of two-digit bytes.
fn hex(line: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> = line
        .split_whitespace()
        .map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok()).flatten())
        .collect();
    bytes.filter(|bytes| !bytes.is_empty())
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
 Ctrl Cmd: length 5
 00 00 00 05 00 
 SWTPM_IO_Read: length 65
 80 02 00 00 00 41 00 00 01 82 00 00 00 0F 00 00 
 00 09 40 00 00 09 00 00 00 00 00 00 00 00 01 00 
 0B 7A EA 29 3B 35 68 0A C2 F4 DC E2 FE E5 FB E2 
 A7 54 08 9F 20 B5 4D 3E C0 C6 C4 1C 85 ED 09 8B 
 6C 
 SWTPM_IO_Write: length 19
 80 02 00 00 00 13 00 00 00 00 00 00 00 00 00 00 
 01 00 00 
 SWTPM_IO_Read: length 12
 80 01 00 00 00 0C 00 00 01 7B 00 20 
";

    #[test]
    fn commands_and_answers_are_paired() {
        let seen = exchanges(LOG);
        assert_eq!(seen.iter().map(Exchange::code).collect::<Vec<_>>(), [Some(PCR_EXTEND), Some(0x17b)]);
        assert_eq!((seen[0].command.len(), seen[0].answer.len()), (65, 19));
        assert!(seen[0].succeeded() && !seen[1].succeeded());
        assert_eq!(seen[1].extension(), None);
        assert!(exchanges("swtpm: nothing\n").is_empty());
    }

    #[test]
    fn only_what_the_tpm_did_counts_and_only_for_its_pcr() {
        let digest = extensions(LOG, 15);
        assert_eq!((digest.len(), digest[0][0], digest[0][31]), (1, 0x7a, 0x6c));
        assert!(extensions(LOG, 14).is_empty());
        let refused = LOG.replace("00 13 00 00 00 00 ", "00 0A 00 00 01 01 ");
        assert!(extensions(&refused, 15).is_empty());
        let sha1 = LOG.replace(" 0B 7A", " 04 7A");
        assert!(extensions(&sha1, 15).is_empty());
    }

    #[test]
    fn logs_that_break_off_are_read_as_far_as_they_go() {
        for end in 0..LOG.len() {
            let _ = extensions(&LOG[..end], 15);
        }
    }
}
