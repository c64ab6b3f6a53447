//! PCR 5 by its events: partition tables, separators and boot actions, each proven by its digest.

use crate::Rejection;
use ccnode_evidence::HashAlg;
use ccnode_tpm_eventlog::{Event, LogMatchesPcrs, Payload, Separator, event_type};

const PCR: u32 = 5;
/// What UEFI firmware measures about the boot itself (Platform Firmware Profile, section 10.4.4).
const ACTIONS: [&str; 5] = [
    "Calling EFI Application from Boot Option",
    "Returning from EFI Application from Boot Option",
    "Exit Boot Services Invocation",
    "Exit Boot Services Returned with Success",
    "Exit Boot Services Returned with Failure",
];

/// Proof that PCR 5 was extended by nothing but what every boot extends. Event types are claims, so the data that the digest
/// covers decide.
#[derive(Debug)]
pub struct BootEvents(());

impl BootEvents {
    pub(crate) fn check(log: &LogMatchesPcrs<'_>) -> Result<Self, Rejection> {
        let strange = log.log().events.iter().find(|e| e.register == PCR && e.extends() && !expected(e));
        match strange {
            None => Ok(Self(())),
            Some(event) => {
                Err(Rejection::BootEvents { event: event.index, component: event.describe().component })
            }
        }
    }
}

fn expected(event: &Event) -> bool {
    if !event.data_is_proven(HashAlg::Sha256) {
        return false;
    }
    match (event.event_type, event.payload()) {
        (event_type::EV_EFI_GPT_EVENT, Payload::Gpt(_)) => true,
        (event_type::EV_SEPARATOR, Payload::Separator(Separator::End)) => true,
        (event_type::EV_EFI_ACTION, Payload::Text(text)) => ACTIONS.contains(&text.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::{PcrIndex, PcrSet};
    use ccnode_tpm_eventlog::EventLog;
    use ccnode_vectors as vectors;

    const LOGS: &[&str] = &[
        "gce/coreos_36_shielded_vm_no_secure_boot_eventlog",
        "gce/cos-85-amd-sev.bin",
        "gce/cos-93-amd-sev.bin",
        "gce/eventlogwithsp800155.bin",
        "gce/rhel8-uefi.bin",
        "gce/ubuntu-1804-amd-sev.bin",
        "gce/ubuntu-2104-no-secure-boot.bin",
        "gce/ubuntu-2404-amd-sevsnp.bin",
        "pc/arch-linux-workstation.bin",
        "pc/crypto_agile_eventlog",
        "pc/event-arch-linux.bin",
        "pc/keylime-binary_bios_measurements",
        "vm/event-bootorder.bin",
        "vm/event-moklisttrusted.bin",
        "vm/event-sd-boot-fedora37.bin",
    ];

    fn judge(log: &[u8]) -> Result<BootEvents, Rejection> {
        let log = EventLog::parse(log).unwrap();
        let five: PcrSet = PcrIndex::new(PCR).into_iter().collect();
        let quoted = log.replay(HashAlg::Sha256).unwrap().pcrs();
        BootEvents::check(&log.matches(&quoted, five).unwrap())
    }

    #[test]
    fn real_firmware_proves_its_boot_events() {
        for name in LOGS {
            let Some(log) = vectors::read(&format!("tcg-eventlog/{name}")) else { return };
            let judged = judge(&log);
            assert!(judged.is_ok(), "{name}: {}", judged.unwrap_err());
        }
    }
}
