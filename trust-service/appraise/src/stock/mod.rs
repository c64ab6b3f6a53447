//! Appraisal of the stock transcript: evidence of clients that know nothing of `ccnode/1`, in the order of its gates.
//!
//! No credential was activated, so nothing says in which TPM an attestation key lives, or whether in one at all: such evidence is
//! worth `hypervisor-vtpm` and no more, unless a hardware report vouches for the key. Its verdict is a type of its own, which no path
//! of `ccnode/1` takes.

mod init_data;
mod matching;
mod signed;
mod values;

pub use init_data::StockInitData;
pub use matching::StockMatch;
pub use values::{MUST, ReferenceValueError, ReferenceValues, TRUSTED_AKS};

use crate::hardware::{self, Demands, Launched, ReportSatisfied, Vtpm};
use crate::level::{LaunchMatched, admitted, labelled};
use crate::sent::Parts;
use crate::session::{Covered, malformed};
use crate::standalone::{KeyFormError, QuoteKey};
use crate::{
    Counters, Kept, Member, NonceFresh, References, Refused, Rejection, TrustLevel, Unbound, UnixTime,
};
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{EvidenceKind, Nonce, PcrIndex, PcrValues, ReportData, Sha256Digest};
use ccnode_protocol::admin::HardwareRecord;
use ccnode_protocol::{Attestation, TeePubKey};
use init_data::InitDataBound;
use matching::StockSatisfied;
use signed::{Selected, Signed};

/// What the service remembers of a challenge to a stock client.
#[derive(Clone, Copy, Debug)]
pub struct StockSession<'a> {
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The kind of evidence that was announced.
    pub kind: EvidenceKind,
}

/// What a pool takes of stock clients.
#[derive(Clone, Copy)]
pub struct StockReferences<'a> {
    /// The pool's own references; its endorsement key roots are of no use here.
    pub pool: References<'a>,
    /// Reference values that were posted for it: where there are some, they decide in place of the tuples.
    pub values: Option<&'a ReferenceValues>,
}

/// What a TPM's quote proved, of whichever TPM it is.
#[derive(Clone, Debug)]
pub struct StockTpm {
    /// The attestation key, SubjectPublicKeyInfo in DER.
    pub ak: Vec<u8>,
    /// The quote's counters.
    pub counters: Counters,
    /// sha256:0-23 as quoted.
    pub pcrs: PcrValues,
    /// PCRs of these that nothing was compared with: only an event log, which stock clients don't send, could explain them.
    pub not_judged: Vec<PcrIndex>,
}

/// Stock evidence that satisfied every gate. [`appraise`] alone makes one.
#[derive(Clone, Debug)]
pub struct StockVerdict {
    /// Derived from the proofs.
    pub level: TrustLevel,
    /// Kind of the primary evidence.
    pub kind: EvidenceKind,
    /// Who: a labelled digest of the attestation key, or of what is one boot's alone; never that of a `ccnode/1` node.
    pub node_id: Sha256Digest,
    /// Whether that is nobody any more at the next boot.
    pub ephemeral: bool,
    /// What the TPM proved, where there is one.
    pub tpm: Option<StockTpm>,
    /// What the hardware proved, where there was a report.
    pub hardware: Option<HardwareRecord>,
    /// What it matched.
    pub matched: StockMatch,
    /// The key that resources may be encrypted to.
    pub tee_pubkey: TeePubKey,
    /// The init-data that the evidence was measured with.
    pub init_data: Option<StockInitData>,
    /// The transcript's digest, which the primary evidence covers.
    pub report_data: ReportData,
    _proof: StockSatisfied,
}

/// Proof that an attestation is of the stock transcript's form and of this session.
struct Opened {
    parts: Parts,
    covered: Covered,
}

/// Who signs: the node that the attestation key makes, proven by its signature over this session; `None` where there is no TPM.
///
/// No record of the service decides this, and it costs one verification. Anybody can make up a key, and so a node that is unknown.
pub fn claimed(
    session: &StockSession<'_>,
    attestation: &Attestation,
) -> Result<Option<Sha256Digest>, Rejection> {
    let opened = open(session, attestation)?;
    let signed = Signed::check(session.kind, &opened.parts, &opened.covered)?;
    Ok(signed.map(|signed| ak_id(session.kind, &signed.key.spki())))
}

/// Judges `attestation`, the answer to `session`'s challenge, by what the pool allows at `now`.
///
/// The order: form and nonce, the quote's signature and session, hardware report, level, selection and values, cap, launch or tuples or
/// reference values, init-data. A later gate is only reached through all earlier ones.
pub fn appraise(
    session: &StockSession<'_>,
    attestation: &Attestation,
    references: &StockReferences<'_>,
    now: UnixTime,
) -> Result<StockVerdict, Box<Refused>> {
    let mut kept = Kept::default();
    judge(session, attestation, references, now, &mut kept)
        .map_err(|rejection| Box::new(Refused { rejection, kept }))
}

/// The identity of the node that signs by an attestation key (SubjectPublicKeyInfo in DER) in evidence of `kind`.
pub fn ak_id(kind: EvidenceKind, spki: &[u8]) -> Sha256Digest {
    labelled(format!("ccnode stock {kind} ak").as_bytes(), spki)
}

/// An attestation key of a stock client, read strictly: RSA of 2048 to 4096 bits, as SubjectPublicKeyInfo in DER or PEM.
pub fn read_ak(bytes: &[u8]) -> Result<Vec<u8>, KeyFormError> {
    let key = QuoteKey::detect(bytes)?;
    let rsa = key.public().rsa_numbers().is_some() && key.name().is_none() && key.certificate_der().is_none();
    if rsa { Ok(key.spki_der()) } else { Err(KeyFormError::Unknown) }
}

fn open(session: &StockSession<'_>, attestation: &Attestation) -> Result<Opened, Rejection> {
    let runtime = &attestation.runtime_data;
    // A stock service would drop it; here it says that somebody mixes transcripts.
    if runtime.ccnode.is_some() {
        return Err(Rejection::TranscriptMismatch { member: Member::Ccnode });
    }
    let _: NonceFresh = NonceFresh::check(&runtime.stock.nonce, session.nonce)?;
    let additional = attestation.tee_evidence.additional_evidence.as_str();
    let beside = session.kind.takes_additional() && !additional.is_empty();
    let parts = Parts::read(session.kind, beside, attestation)?;
    let form = |additional_evidence| -> Transcript<'_, TeePubKey> {
        Transcript { additional_evidence, nonce: session.nonce, tee_pubkey: &runtime.stock.tee_pubkey }
    };
    let digest =
        |transcript: Transcript<'_, TeePubKey>| transcript.stock().map_err(|e| malformed("runtime-data", e));
    let reported = digest(form(Some(additional)))?;
    let quoted = if beside { digest(form(None))? } else { reported };
    Ok(Opened { parts, covered: Covered { activated: None, quoted, reported } })
}

fn judge(
    session: &StockSession<'_>,
    attestation: &Attestation,
    references: &StockReferences<'_>,
    now: UnixTime,
    kept: &mut Kept,
) -> Result<StockVerdict, Rejection> {
    let Opened { parts, covered } = open(session, attestation)?;
    let signed = Signed::check(session.kind, &parts, &covered)?;
    let pool = &references.pool;
    let demands = Demands { hardware: pool.hardware, collateral: pool.collateral, now };
    let vtpm = signed.as_ref().map(|signed| Vtpm::Signer(&signed.key));
    let report = parts.report.as_ref();
    let report =
        report.map(|report| hardware::judge_report(report, None, vtpm, &covered, &demands)).transpose()?;
    kept.hardware = report.as_ref().map(|report| record(session, report));
    let worth = Worth::derive(session, signed.as_ref(), report.as_ref(), references)?;
    kept.level = Some(worth.level);
    // Whoever made the key up is no better known for it: only hardware vouches for somebody here.
    kept.activation_proven = worth.level < TrustLevel::HypervisorVtpm;
    admitted(session.kind, worth.level, worth.unbound, pool.hardware.policy())?;
    let selected = signed.as_ref().map(Signed::select).transpose()?;
    kept.quote_proven = selected.is_some();
    kept.counters = selected.as_ref().map(|selected| selected.counters);
    kept.pcrs = selected.as_ref().map(|selected| selected.pcrs.clone());
    let init_data = InitDataBound::read(attestation, pool.allow_init_data)?;
    let (matched, not_judged, proof) = match &selected {
        Some(selected) => StockSatisfied::by_pcrs(session.kind, selected, &init_data, references)?,
        None => StockSatisfied::by_launch(report.as_ref(), references)?,
    };
    (kept.platform, kept.image) = (matched.platform(), matched.image());
    init_data.is_in_report(session.kind, report.as_ref())?;
    let tpm = selected.map(|Selected { ak, counters, pcrs }| StockTpm { ak, counters, pcrs, not_judged });
    Ok(StockVerdict {
        level: worth.level,
        kind: session.kind,
        node_id: worth.node_id,
        ephemeral: worth.ephemeral,
        tpm,
        hardware: report.as_ref().map(|report| record(session, report)),
        matched,
        tee_pubkey: attestation.runtime_data.stock.tee_pubkey.clone(),
        init_data: init_data.into_data(),
        report_data: covered.reported,
        _proof: proof,
    })
}

/// Whose evidence it is, and what it is worth.
struct Worth {
    level: TrustLevel,
    unbound: Option<Unbound>,
    node_id: Sha256Digest,
    ephemeral: bool,
}

impl Worth {
    /// A report that covers the quote's key, of a guest that the pool lists, makes it `tee-bound-vtpm`; a quote is no more than a
    /// hypervisor's else. A report alone is `tee`, and of one boot.
    fn derive(
        session: &StockSession<'_>,
        signed: Option<&Signed<'_>>,
        report: Option<&ReportSatisfied>,
        references: &StockReferences<'_>,
    ) -> Result<Self, Rejection> {
        let policy = references.pool.hardware.policy();
        let Some(signed) = signed else {
            let report = report.ok_or_else(|| malformed("tee-evidence", "a report is missing"))?;
            let node_id = match &report.launch {
                Launched::Snp { report_id, .. } => labelled(b"ccnode stock report-id", report_id),
                Launched::Tdx { .. } => labelled(b"ccnode stock session", &session.nonce.0),
            };
            // That the launch is one that the pool lists, `StockSatisfied` asks; here it decides who may be told more.
            LaunchMatched::of(report, policy, references.pool.images)?;
            return Ok(Self { level: TrustLevel::Tee, unbound: None, node_id, ephemeral: true });
        };
        let node_id = ak_id(session.kind, &signed.key.spki());
        let unbound = match report {
            Some(ReportSatisfied { vouched: Some(_vouched), keeper: true, .. }) => None,
            Some(ReportSatisfied { vouched: Some(_), keeper: false, .. }) => Some(Unbound::NotKeeper),
            Some(_) => Some(Unbound::NotCovered),
            None => Some(Unbound::NoReport),
        };
        let level = if unbound.is_none() { TrustLevel::TeeBoundVtpm } else { TrustLevel::HypervisorVtpm };
        let ephemeral =
            (unbound.is_none() && policy.ephemeral_vtpm) || report.is_some_and(|report| report.ephemeral);
        Ok(Self { level, unbound, node_id, ephemeral })
    }
}

fn record(session: &StockSession<'_>, report: &ReportSatisfied) -> HardwareRecord {
    HardwareRecord { kind: session.kind, covers_tpm: report.vouched.is_some(), claims: report.claims.clone() }
}
