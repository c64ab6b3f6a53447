//! t06, t08, t09: genuine parts that don't belong together, sent to the real service.

use crate::fixture::*;
use crate::machines::*;
use ccnode_evidence::{Code, Secret};
use ccnode_protocol::admin::Rule;
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_protocol::{Attestation, ExtParams};
use ccnode_testkit::snp::{ChipModel, TestChip};
use ccnode_testkit::{Hardware, Lies, Machine, MakerCa, Seat, SoftTpm, kubelet_csr};
use serde_json::{Value, json};

/// One machine of each kind; those with a TPM have seat A.
fn machines(maker: &MakerCa) -> [Machine; 7] {
    let beside = |hardware| Machine::with(SoftTpm::new(maker, Seat::A), hardware);
    [
        svsm(Seat::A),
        beside(Hardware::snp(TestChip::milan())),
        beside(Hardware::tdx(&PLATFORM)),
        azure(Seat::A, Hardware::az_snp(TestChip::milan())),
        azure(Seat::A, Hardware::az_tdx(&PLATFORM)),
        bare_snp(1),
        bare_tdx(),
    ]
}

/// The member of the primary evidence that is the report.
fn report(attestation: &mut Attestation) -> &mut Value {
    let primary = &mut attestation.tee_evidence.primary_evidence;
    let member = ["hcl_report", "attestation_report", "quote"].into_iter().find(|m| !primary[*m].is_null());
    &mut primary[member.unwrap()]
}

/// What gives the report of another session away.
fn foreign_report(machine: &Machine) -> Code {
    match machine.hardware {
        Hardware::Snp { svsm: Some(_), .. } => Code::SnpSvsm,
        Hardware::Snp { .. } => Code::SnpReportData,
        Hardware::Tdx { .. } => Code::TdxReportData,
        Hardware::AzSnp { .. } | Hardware::AzTdx { .. } => Code::HclUserData,
    }
}

#[tokio::test]
async fn t08_the_report_of_another_session_is_refused_in_every_kind() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    for machine in machines(&maker) {
        let (here, there) = (offer(&trust, &machine).await, offer(&trust, &machine).await);
        let (mut mixed, _) = here.reply(&machine);
        let (mut foreign, _) = there.reply(&machine);
        *report(&mut mixed) = report(&mut foreign).clone();
        if let Hardware::AzTdx { .. } = machine.hardware {
            // With the quote that was made from it.
            mixed.tee_evidence.primary_evidence["td_quote"] =
                foreign.tee_evidence.primary_evidence["td_quote"].clone();
        }
        assert_eq!(code(here.attest(&mixed).await), foreign_report(&machine), "{machine:?}");
        // As a whole, by its nonce; with the nonce exchanged, by what covers it.
        assert_eq!(code(here.attest(&foreign).await), Code::NonceMismatch, "{machine:?}");
        foreign.runtime_data.stock.nonce = here.nonce.text();
        let due = if machine.tpm.is_some() { Code::ActivationFailed } else { foreign_report(&machine) };
        assert_eq!(code(here.attest(&foreign).await), due, "{machine:?}");
    }
    nobody(&trust).await;
}

#[tokio::test]
async fn t08_a_key_in_the_middle_is_refused_in_every_kind() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    for machine in machines(&maker) {
        let session = offer(&trust, &machine).await;
        let (mut diverted, _) = session.reply(&machine);
        diverted.runtime_data.stock.tee_pubkey = EphemeralKey::generate().public();
        let due = if machine.tpm.is_some() { Code::ActivationFailed } else { foreign_report(&machine) };
        assert_eq!(code(session.attest(&diverted).await), due, "{machine:?}");
        // The request that the certificate is made for is bound, too.
        let (mut changed, _) = session.reply(&machine);
        let (other, _) = kubelet_csr(&"workers-other".parse().unwrap());
        changed.tee_evidence.primary_evidence["ccnode"]["csr"] =
            serde_json::to_value(ccnode_evidence::Base64Url(other)).unwrap();
        assert_eq!(code(session.attest(&changed).await), Code::TranscriptMismatch, "{machine:?}");
    }
    nobody(&trust).await;
}

#[tokio::test]
async fn t09_evidence_is_spent_by_its_verdict_in_every_kind() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    // The weaker first: machines with one TPM are one node, whose level may rise.
    for machine in machines(&maker).into_iter().rev() {
        let session = offer(&trust, &machine).await;
        let (attestation, _) = session.reply(&machine);
        session.attest(&attestation).await.unwrap();
        assert_eq!(code(session.attest(&attestation).await), Code::NonceSpent, "{machine:?}");
        assert!(session.grants().await.is_ok(), "what was accepted stays so");
    }
}

#[tokio::test]
async fn t06_another_tpm_beside_the_report_is_refused_in_every_kind() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    for machine in machines(&maker).iter().filter(|machine| machine.tpm.is_some()) {
        let lying = async |lies| {
            tpm_of(machine).lie(lies);
            let code = refused(&trust, machine).await;
            tpm_of(machine).lie(Lies::default());
            code
        };
        let signed = lying(Lies { signer: Some(Seat::B), ..Lies::default() }).await;
        assert_eq!(signed, Code::QuoteSignature, "{machine:?}");
        let other = lying(Lies { qualifying: Some(vec![7; 32]), ..Lies::default() }).await;
        assert_eq!(other, Code::QuoteNonce, "{machine:?}");
        // t24: values that changed between read and quote.
        let mut values = ccnode_testkit::Boot::new("2022.11", "quiet", b"initrd").pcrs();
        values.0.retain(|pcr, _| pcr.get() < 16);
        let raced = lying(Lies { sent_pcrs: Some(values), ..Lies::default() }).await;
        assert_eq!(raced, Code::QuotePcrDigest, "{machine:?}");
        // A credential that was guessed: the EK's TPM is elsewhere.
        let session = offer(&trust, machine).await;
        let (csr, _) = kubelet_csr(&"workers-a".parse().unwrap());
        let guess = session.reply_with(machine, Some(&Secret::new([7; 32])), &csr);
        assert_eq!(code(session.attest(&guess).await), Code::ActivationFailed, "{machine:?}");
    }
    nobody(&trust).await;
}

#[tokio::test]
async fn t06_an_svsm_vouches_for_its_own_tpm_alone() {
    let (trust, _) = confidential(&[]).await;
    let maker = MakerCa::new("nobody");
    let (mine, other) = (SoftTpm::new(&maker, Seat::A), SoftTpm::new(&maker, Seat::B));
    let manifest = other.ek_public();
    let machine =
        Machine::with(mine.without_certificate(), Hardware::svsm(TestChip::milan(), manifest.clone()));
    assert_eq!(refused(&trust, &machine).await, Code::SnpSvsm, "another's manifest");

    // The victim's endorsement key is offered, as its SVSM vouches for it: the credential does not open here.
    let mine = SoftTpm::new(&maker, Seat::A).without_certificate();
    let machine = Machine::with(mine, Hardware::svsm(TestChip::milan(), manifest));
    let mut request = machine.auth_request(&pool());
    let ExtParams::Ccnode { ccnode } = &mut request.extra_params else { panic!() };
    ccnode.ek = Some(other.ek_public().into());
    let session = try_challenge(&trust, &request).await.unwrap();
    let credential = session.activation();
    assert!(tpm_of(&machine).open(&credential.credential.0, &credential.secret.0).is_err());
    let (csr, _) = kubelet_csr(&"workers-a".parse().unwrap());
    let guess = session.reply_with(&machine, Some(&Secret::new([1; 32])), &csr);
    assert_eq!(code(session.attest(&guess).await), Code::ActivationFailed);

    // A report that covers the session and no manifest, with one slipped in; and the reverse.
    let (with, without) = (svsm(Seat::A), plain(Seat::A));
    let session = offer(&trust, &with).await;
    let (good, _) = session.reply(&with);
    let mut slipped = session.reply(&without).0;
    slipped.tee_evidence.primary_evidence["ccnode"] = good.tee_evidence.primary_evidence["ccnode"].clone();
    assert_eq!(code(session.attest(&slipped).await), Code::SnpSvsm);
    let mut left_out = good;
    left_out.tee_evidence.primary_evidence["ccnode"].as_object_mut().unwrap().remove("svsm");
    assert_eq!(code(session.attest(&left_out).await), Code::SnpReportData);
    nobody(&trust).await;
}

/// The machine of [`svsm`] whose report is the guest's own.
fn plain(seat: Seat) -> Machine {
    let tpm = SoftTpm::new(&MakerCa::new("nobody"), seat).without_certificate();
    Machine::with(tpm, Hardware::snp(TestChip::milan()))
}

#[tokio::test]
async fn t06_azures_runtime_data_name_this_very_tpm_and_session() {
    let (trust, _) = confidential(&[]).await;
    for hardware in [Hardware::az_snp(TestChip::milan()), Hardware::az_tdx(&PLATFORM)] {
        for index in [0, 1] {
            // The key of another seat under the right name.
            let lie = hardware.clone().saying(move |runtime| {
                let other = foreign_keys();
                runtime["keys"][index] = other[index].clone();
            });
            assert_eq!(refused(&trust, &azure(Seat::A, lie)).await, Code::HclKey, "{hardware:?} {index}");
        }
        let stale = hardware.clone().saying(|runtime| runtime["user-data"] = json!("00".repeat(64)));
        assert_eq!(refused(&trust, &azure(Seat::A, stale)).await, Code::HclUserData, "{hardware:?}");
    }
    // The TD report of one VM with the quote of another, over the same runtime data.
    let machine = azure(Seat::A, Hardware::az_tdx(&PLATFORM));
    let other = azure(Seat::A, Hardware::az_tdx(&PLATFORM).quoting(|td| td.mr_owner = [1; 48]));
    let session = offer(&trust, &machine).await;
    let (mut mixed, _) = session.reply(&machine);
    mixed.tee_evidence.primary_evidence["td_quote"] =
        session.reply(&other).0.tee_evidence.primary_evidence["td_quote"].clone();
    assert_eq!(code(session.attest(&mixed).await), Code::TdxReport);
    nobody(&trust).await;
}

fn foreign_keys() -> Value {
    let other = azure(Seat::B, Hardware::az_snp(TestChip::milan()));
    let ccnode_evidence::ReportParts::AzSnp { hcl_report, .. } = other.report_over([0; 64]) else { panic!() };
    let start = hcl_report.windows(8).position(|w| w == br#"{"keys":"#).unwrap();
    let mut values = serde_json::Deserializer::from_slice(&hcl_report[start..]).into_iter::<Value>();
    values.next().unwrap().unwrap()["keys"].clone()
}

#[tokio::test]
async fn t19_the_certificates_of_another_chip_prove_nothing() {
    let (trust, _) = confidential(&[]).await;
    let other = TestChip::new(ChipModel::Milan, 2);
    for machine in [svsm(Seat::A), bare_snp(1)] {
        let session = offer(&trust, &machine).await;
        let (good, _) = session.reply(&machine);
        let mut mixed = good.clone();
        let foreign = Machine::bare(Hardware::snp(other.clone()));
        let theirs = offer(&trust, &foreign).await.reply(&foreign).0;
        mixed.tee_evidence.primary_evidence["cert_chain"] =
            theirs.tee_evidence.primary_evidence["cert_chain"].clone();
        assert_eq!(code(session.attest(&mixed).await), Code::SnpChipMismatch, "{machine:?}");
        let mut without = good;
        without.tee_evidence.primary_evidence["cert_chain"] = Value::Null;
        assert_eq!(code(session.attest(&without).await), Code::SnpCertMissing, "{machine:?}");
    }
    nobody(&trust).await;
}
