//! The composition: every gate in its order, each proof handed on, and at the end the one constructor of a verdict.

use crate::references::{Matched, not_capped};
use crate::session::{self, malformed};
use crate::{
    AkGuarded, Counters, Csr, EkChainValid, Kept, LogKind, References, Refused, Rejection, SelectionExact,
    Session, UnixTime, Verdict, quote,
};
use ccnode_evidence::{EventLogs, PcrSet};
use ccnode_protocol::{Attestation, limits};
use ccnode_tpm_eventlog::{EventLog, LogMatchesPcrs, MatchError, own};

/// Judges `attestation`, the answer to `session`'s challenge, by what the pool allows at `now`.
///
/// The order: form, nonce and activation (as in [`activated`]), EK chain, attestation key, bound members, quote, logs, cap,
/// platform, image, pair, PCR 5, 8 and 10, certificate request. A later gate is only reached through all earlier ones.
pub fn appraise(
    session: &Session<'_>,
    attestation: &Attestation,
    references: &References<'_>,
    now: UnixTime,
) -> Result<Verdict, Box<Refused>> {
    let mut kept = Kept::default();
    judge(session, attestation, references, now, &mut kept)
        .map_err(|rejection| Box::new(Refused { rejection, kept }))
}

/// The gates that no record of the service decides: form, nonce, and proof that the challenge's credential was activated.
///
/// Nobody but the TPM that was offered passes them, so a refusal here says nothing of whom the service knows, and costs one HMAC.
/// It says nothing of who made that TPM either: [`appraise`] does, and comes after it.
pub fn activated(session: &Session<'_>, attestation: &Attestation) -> Result<(), Rejection> {
    let opened = session::open(session, attestation)?;
    session::activation(session, attestation, &opened.fresh).map(drop)
}

fn judge(
    session: &Session<'_>,
    attestation: &Attestation,
    references: &References<'_>,
    now: UnixTime,
    kept: &mut Kept,
) -> Result<Verdict, Rejection> {
    let identity = session.identity;
    let opened = session::open(session, attestation)?;
    let (_activated, report_data) = session::activation(session, attestation, &opened.fresh)?;
    let chain = EkChainValid::check(identity.ek_cert(), references.ek_roots, now)?;
    let guarded = AkGuarded::check(identity.ak())?;
    kept.activation_proven = true;
    kept.level = Some(chain.level());
    let bound = session::bound(attestation, &opened.ours)?;
    let logs = &opened.ours.logs;
    kept.logs = Some(logs.clone());

    let quoted = quote::judge(&opened.evidence, identity.ak(), &guarded, &report_data)?;
    let counters = Counters {
        reset_count: quoted.clock.reset_count,
        restart_count: quoted.clock.restart_count,
        clock: quoted.clock.clock,
        safe: quoted.clock.safe,
    };
    kept.quote_proven = true;
    kept.counters = Some(counters);
    let selection = quoted.selection;
    kept.pcrs = Some(selection.pcrs().clone());

    let log = read(logs)?;
    let proof = replay(&log, &selection)?;
    kept.log_proven = true;
    not_capped(&selection)?;
    // Both are judged before either refuses: who records an unknown platform needs to know what ran on it.
    let platform = references.platform(&selection, &proof);
    let image = references.image(&selection, &proof, &logs.cmdline);
    kept.platform = platform.as_ref().ok().map(|tuple| tuple.id());
    kept.image = image.as_ref().ok().map(|tuple| tuple.id());
    let (platform, image) = (platform?, image?);
    let satisfied = references.rest(&Matched { platform, image }, &selection, &proof, &bound)?;
    let csr =
        opened.ours.csr.as_ref().map(|csr| Csr::parse(&csr.0)).transpose().map_err(Rejection::CsrRefused)?;

    Ok(Verdict {
        level: chain.level(),
        node_id: identity.node_id(),
        ak_name: identity.ak_name(),
        counters,
        platform: platform.id(),
        image: image.id(),
        image_name: format!("{} {}", image.name, image.version),
        verity_hash: image.verity_hash,
        csr,
        tee_pubkey: attestation.runtime_data.stock.tee_pubkey.clone(),
        pcrs: selection.pcrs().clone(),
        init_data: bound.init_data,
        _proof: satisfied,
    })
}

fn read(logs: &EventLogs) -> Result<EventLog<'_>, Rejection> {
    let sizes = [
        ("tee-evidence.primary_evidence.ccnode.event-log", logs.event_log.0.len(), limits::EVENT_LOG),
        ("tee-evidence.primary_evidence.ccnode.own-log", logs.own_log.0.len(), limits::EVENT_LOG),
        ("tee-evidence.primary_evidence.ccnode.cmdline", logs.cmdline.len(), limits::CMDLINE),
    ];
    for (member, len, limit) in sizes {
        if len > limit {
            return Err(malformed(member, format_args!("{len} bytes, {limit} at most")));
        }
    }
    let firmware = EventLog::parse(&logs.event_log.0)
        .map_err(|reason| Rejection::EventLogMalformed { log: LogKind::Firmware, reason })?;
    let own = own::parse(&logs.own_log.0)
        .map_err(|reason| Rejection::EventLogMalformed { log: LogKind::Own, reason })?;
    Ok(firmware.followed_by(&own))
}

/// Everything quoted but PCR 10, whose log is the kernel's own (see [`crate::boot_aggregate_pcrs`]).
fn replay<'a>(log: &'a EventLog<'a>, quoted: &SelectionExact) -> Result<LogMatchesPcrs<'a>, Rejection> {
    let set: PcrSet = PcrSet::CCNODE.iter().filter(|pcr| pcr.get() != 10).collect();
    log.matches(quoted.pcrs(), set).map_err(|error| match error {
        // PCRs are compared in ascending order: all others agree, and a quoted cap needs no log to be believed.
        MatchError::Mismatch { pcr, quoted: value, .. } if pcr.get() == 15 && not_capped(quoted).is_err() => {
            Rejection::AlreadyCapped { value }
        }
        other => Rejection::EventLogMismatch(other),
    })
}
