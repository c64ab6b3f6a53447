//! The composition: every gate in its order, each proof handed on, and at the end the one constructor of a verdict.

use crate::hardware::{self, Demands, ReportSatisfied};
use crate::level::{LaunchMatched, TpmLevel, admitted};
use crate::references::{PairAdmitted, not_capped};
use crate::session::{self, Covered, MembersBound, Opened, malformed};
use crate::verdict::ImageProof;
use crate::{
    AkGuarded, AllowedOnce, Counters, Csr, Kept, LogKind, Offered, References, Refused, Rejection,
    SelectionExact, Session, TpmVerdict, TrustLevel, UnixTime, Verdict, quote,
};
use ccnode_evidence::{EventLogs, ImageTuple, PcrSet, PlatformTuple};
use ccnode_protocol::admin::HardwareRecord;
use ccnode_protocol::{Attestation, limits};
use ccnode_tpm_eventlog::{EventLog, LogMatchesPcrs, MatchError, own};
use std::cell::Cell;

/// Judges `attestation`, the answer to `session`'s challenge, by what the pool allows at `now`.
///
/// The order: transcript, nonce, form, activation, hardware report (genuine, of this session, as the pool demands), level,
/// attestation key, bound members, quote, logs, cap, platform, image, pair, PCR 5, 8 and 10, certificate request. Without a TPM
/// the launch stands for all that is quoted. A later gate is only reached through all earlier ones.
pub fn appraise(
    session: &Session<'_>,
    attestation: &Attestation,
    references: &References<'_>,
    now: UnixTime,
) -> Result<Verdict, Box<Refused>> {
    appraise_allowing(session, attestation, references, None, now)
}

/// The same where administrators allowed one state once: it passes for an allowed pair, and every other gate stays what it is.
/// A state that a pair allows makes no use of it.
pub fn appraise_allowing(
    session: &Session<'_>,
    attestation: &Attestation,
    references: &References<'_>,
    once: Option<&AllowedOnce>,
    now: UnixTime,
) -> Result<Verdict, Box<Refused>> {
    let mut kept = Kept::default();
    judge(session, attestation, (references, once), now, &mut kept)
        .map_err(|rejection| Box::new(Refused { rejection, kept }))
}

/// The gates that no record of the service decides: transcript, nonce, and proof that the challenge's credential was activated. The evidence
/// itself, which is long, is not read yet.
///
/// Nobody but the TPM that was offered passes them, so a refusal here says nothing of whom the service knows, and costs one HMAC.
/// It says nothing of who made that TPM either: [`appraise`] does, and comes after it. Without a TPM there is nothing to activate.
pub fn activated(session: &Session<'_>, attestation: &Attestation) -> Result<(), Rejection> {
    let fresh = session::fresh(session, attestation)?;
    session::activated(session, attestation, &fresh)
}

/// Evidence that got as far as its report.
struct Reported<'a> {
    session: &'a Session<'a>,
    attestation: &'a Attestation,
    opened: Opened,
    covered: Covered,
    report: Option<ReportSatisfied>,
    references: &'a References<'a>,
    once: Option<&'a AllowedOnce>,
    now: UnixTime,
    /// Whether the logs are those that the transcript binds: a refusal keeps them from then on.
    is_bound: Cell<bool>,
}

fn judge(
    session: &Session<'_>,
    attestation: &Attestation,
    (references, once): (&References<'_>, Option<&AllowedOnce>),
    now: UnixTime,
    kept: &mut Kept,
) -> Result<Verdict, Rejection> {
    let opened = session::open(session, attestation)?;
    let covered = session::covered(session, attestation, &opened.fresh)?;
    let demands = Demands { hardware: references.hardware, collateral: references.collateral, now };
    let report = hardware::judge(session, &opened.sent, &covered, &demands)?;
    kept.hardware = report.as_ref().map(|report| record(session, report));
    let is_bound = Cell::new(false);
    let reported =
        Reported { session, attestation, opened, covered, report, references, once, now, is_bound };
    let verdict = match session.tpm {
        Some(tpm) => reported.with_tpm(tpm, kept),
        None => reported.alone(kept),
    };
    if verdict.is_err() && reported.is_bound.get() {
        kept.logs = Some(reported.opened.sent.ours.logs);
    }
    verdict
}

impl Reported<'_> {
    /// The TPM's quote says what booted; the report, where there is one, what the TPM is worth.
    fn with_tpm(&self, tpm: Offered<'_>, kept: &mut Kept) -> Result<Verdict, Rejection> {
        let Self { session, references, .. } = *self;
        let activated = self.covered.activated.as_ref().ok_or(Rejection::ActivationFailed)?;
        let policy = references.hardware.policy();
        let report = self.report.as_ref();
        let level = TpmLevel::derive(session, tpm, report, policy, references.ek_roots, self.now, activated)?;
        let guarded = AkGuarded::check(tpm.identity.ak())?;
        kept.activation_proven = true;
        kept.level = Some(level.level);
        admitted(session.kind, level.level, level.unbound, policy)?;
        let bound = self.bound()?;

        let due = self.covered.quoted.extra_data(session.kind);
        let sent = self.opened.sent.quote.as_ref();
        let sent = sent.ok_or_else(|| malformed("tee-evidence", "a quote is missing"))?;
        let quoted = quote::judge(sent, tpm.identity.ak(), &guarded, &due)?;
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

        let logs = &self.opened.sent.ours.logs;
        let log = read(logs)?;
        let proof = replay(&log, &selection)?;
        kept.log_proven = true;
        not_capped(&selection)?;
        // Both are judged before either refuses: who records an unknown platform needs to know what ran on it.
        let platform = references.platform(&selection, &proof);
        let image = references.image(&selection, &proof, &logs.cmdline);
        kept.platform = platform.as_ref().ok().map(|tuple| tuple.id());
        kept.image = image.as_ref().ok().map(|tuple| tuple.id());
        let admitted = PairAdmitted::check(references, (platform, image), &selection, self.once)?;
        let satisfied = references.rest(&admitted, &selection, &proof, &bound)?;
        let PairAdmitted { platform, image, once } = admitted;

        let quoted = TpmVerdict {
            ak_name: tpm.identity.ak_name(),
            counters,
            platform: platform.map(PlatformTuple::id),
            pcrs: selection.pcrs().clone(),
        };
        let of = Of { level: level.level, node_id: level.node_id, ephemeral: level.ephemeral, once };
        self.verdict(of, Some(quoted), image, &bound, ImageProof::Pcrs(satisfied))
    }

    /// Without a TPM the launch must cover the image whole, and all that the node is ends with this boot.
    fn alone(&self, kept: &mut Kept) -> Result<Verdict, Rejection> {
        let Self { session, references, .. } = *self;
        let policy = references.hardware.policy();
        let report = self.report.as_ref().ok_or_else(|| malformed("tee-evidence", "a report is missing"))?;
        let (matched, image, node_id) = LaunchMatched::check(session, report, policy, references.images)?;
        kept.activation_proven = true;
        kept.level = Some(TrustLevel::Tee);
        kept.image = Some(image.id());
        admitted(session.kind, TrustLevel::Tee, None, policy)?;
        let bound = self.bound()?;
        if bound.init_data.is_some() {
            return Err(malformed("init-data", "without a TPM nothing measures them"));
        }
        let of = Of { level: TrustLevel::Tee, node_id, ephemeral: true, once: false };
        self.verdict(of, None, image, &bound, ImageProof::Launch(matched))
    }

    fn bound(&self) -> Result<MembersBound, Rejection> {
        let bound = session::bound(self.attestation, &self.opened.sent.ours)?;
        self.is_bound.set(true);
        Ok(bound)
    }

    fn verdict(
        &self,
        of: Of,
        tpm: Option<TpmVerdict>,
        image: &ImageTuple,
        bound: &MembersBound,
        proof: ImageProof,
    ) -> Result<Verdict, Rejection> {
        let csr = self.opened.sent.ours.csr.as_ref();
        let csr = csr.map(|csr| Csr::parse(&csr.0)).transpose().map_err(Rejection::CsrRefused)?;
        Ok(Verdict {
            level: of.level,
            kind: self.session.kind,
            node_id: of.node_id,
            ephemeral: of.ephemeral,
            tpm,
            hardware: self.report.as_ref().map(|report| record(self.session, report)),
            image: image.id(),
            image_name: format!("{} {}", image.name, image.version),
            verity_hash: image.verity_hash,
            layout: image.layout,
            data: image.data.clone(),
            csr,
            tee_pubkey: self.attestation.runtime_data.stock.tee_pubkey.clone(),
            init_data: bound.init_data,
            allowed_once: of.once,
            _proof: proof,
        })
    }
}

/// Whose evidence it is, and what it is worth.
struct Of {
    level: TrustLevel,
    node_id: ccnode_evidence::Sha256Digest,
    ephemeral: bool,
    once: bool,
}

fn record(session: &Session<'_>, report: &ReportSatisfied) -> HardwareRecord {
    HardwareRecord { kind: session.kind, covers_tpm: report.vouched.is_some(), claims: report.claims.clone() }
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
