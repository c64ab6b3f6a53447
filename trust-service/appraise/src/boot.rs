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
