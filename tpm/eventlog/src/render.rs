//! Logs and differences as text for people: a tree by register, and one sentence.

use crate::event::{EventLog, Format, Proof, Registers};
use crate::explain::Difference;
use crate::payload::Payload;
use crate::text::printable;
use ccnode_evidence::HashAlg;
use std::fmt::Write as _;

/// One line on the log as a whole: its form, banks and number of events.
pub fn summary(log: &EventLog) -> String {
    let banks: Vec<&str> = log.algs.iter().map(|a| a.name()).collect();
    let form = match (log.format, log.registers) {
        (Format::Sha1Only, _) => "old event log (SHA-1 only: for reading, not for trust)",
        (Format::Own, _) => "the node's own event log",
        (Format::CryptoAgile, Registers::Pcrs) => "TPM event log",
        (Format::CryptoAgile, Registers::Ccel) => "CCEL event log",
    };
    format!("{form}, {} events, banks: {}", log.events.len(), banks.join(" "))
}

/// The log as a tree: a line a register with its replayed value, below it a line an event. What no digest covers is marked `claimed`.
pub fn tree(log: &EventLog) -> String {
    let alg = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512, HashAlg::Sha1]
        .into_iter()
        .find(|a| log.algs.contains(a))
        .or(log.algs.first().copied());
    let replay = alg.and_then(|a| log.replay(a).ok());
    let mut out = summary(log);
    out.push('\n');
    for register in 0..=log.registers.max() {
        let events: Vec<_> = log.events.iter().filter(|e| e.register == register).collect();
        if events.is_empty() {
            continue;
        }
        let value = replay.as_ref().and_then(|r| r.value(register)).map(hex::encode);
        let value = value.unwrap_or_else(|| "value unknown".to_owned());
        let _ = writeln!(out, "{}  {value}", log.registers.label(register));
        for event in events {
            let description = event.describe();
            let digest = match alg.and_then(|a| event.digest(a)).filter(|_| event.extends()) {
                Some(digest) => hex::encode(digest.get(..6).unwrap_or(digest)),
                None => "-".repeat(12),
            };
            let mark = match description.proof {
                Proof::None if event.extends() => "  (claimed)",
                Proof::VariableContents => "  (contents proven, name claimed)",
                _ => "",
            };
            let _ = writeln!(
                out,
                "  #{:<3} {digest} {}: {}{mark}",
                event.index, description.kind, description.component
            );
            if let Payload::Gpt(gpt) = event.payload() {
                for partition in gpt.partitions {
                    let name = printable(&partition.name);
                    let _ =
                        writeln!(out, "         `{name}` sectors {} to {}", partition.first, partition.last);
                }
            }
        }
    }
    out
}

/// The first difference's sentence, and in which PCRs there are more; `None` when there is none.
pub fn sentence(differences: &[Difference]) -> Option<String> {
    let (first, rest) = differences.split_first()?;
    let mut more: Vec<String> = rest.iter().map(|d| d.pcr.to_string()).collect();
    more.dedup();
    Some(match rest.len() {
        0 => first.sentence.clone(),
        n => format!("{} ({n} more in PCR {})", first.sentence, more.join(", ")),
    })
}

/// All differences, a line each in the order of naming.
pub fn differences(differences: &[Difference]) -> String {
    let mut out = String::new();
    for difference in differences {
        let at = difference.event.map(|e| format!(" (event {e})")).unwrap_or_default();
        let claim = if difference.proven { "" } else { " [log not proven]" };
        let _ = writeln!(out, "{}{at}{claim}", difference.sentence);
    }
    out
}
