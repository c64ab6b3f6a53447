//! Tests of the prediction: against a recorded boot, and that each byte of a UKI counts.

use super::*;
use crate::pe::tests::image;
use crate::uki::Uki;
use ccnode_tpm_eventlog::EventLog;

const ROOT_HASH: &str = "8cb96f0c25d43f820979b5e86a267262727c8080875dd55acbfb5faa9df27f87";

fn uki() -> Uki {
    let mut uki = Uki::new(&image(&[(".text", &[0x90; 700])], b"")).unwrap();
    uki.set(".osrel", b"ID=ccnode\nIMAGE_ID=worker\nIMAGE_VERSION=\"7\"\n".to_vec());
    uki.set(".cmdline", format!("console=ttyS0 ccnode.roothash={ROOT_HASH}").into_bytes());
    uki.set(".linux", image(&[(".text", &[0x90; 50])], b"certificate"));
    uki.set(".initrd", b"initramfs".to_vec());
    uki
}

fn measured(uki: &Uki) -> Result<ImageTuple, MeasureError> {
    measure_uki(&uki.to_bytes().unwrap(), SecureBoot::Off)
}

fn pcr(tuple: &ImageTuple, index: u32) -> Sha256Digest {
    tuple.pcrs.0[&PcrIndex::new(index).unwrap()]
}

/// The tuple was predicted from the UKI before the boot that left the log; a TPM held these values then.
#[test]
fn recorded_boot_held_what_was_predicted() {
    let tuple = ImageTuple::from_json(include_bytes!("../tests/data/ovmf-2022.11-uki.tuple.json")).unwrap();
    let values: PcrValues =
        serde_json::from_slice(include_bytes!("../tests/data/ovmf-2022.11-uki.pcrs.json")).unwrap();
    let log = EventLog::parse(include_bytes!("../tests/data/ovmf-2022.11-uki.eventlog")).unwrap();
    for (index, value) in &tuple.pcrs.0 {
        assert_eq!(values.get(*index), Some(value), "{index:?}");
        let logged: Vec<_> = log
            .events
            .iter()
            .filter(|e| e.extends() && e.register == u32::from(index.get()))
            .map(|e| (e.event_type, e.sha256().unwrap()))
            .collect();
        let predicted: Vec<_> =
            tuple.events.get(index).into_iter().flatten().map(|e| (e.event_type, e.digest)).collect();
        assert_eq!(logged, predicted, "{index:?}");
    }
}

/// What can be predicted from the text alone is predicted anew, with the digests of the recorded boot.
#[test]
fn command_line_is_measured_as_in_the_recorded_boot() {
    let tuple = ImageTuple::from_json(include_bytes!("../tests/data/ovmf-2022.11-uki.tuple.json")).unwrap();
    let mut same = uki();
    same.set(".cmdline", tuple.cmdline.clone().into_bytes());
    let got = measured(&same).unwrap();
    let find = |tuple: &ImageTuple, pcr: u32, word: &str| {
        let events = &tuple.events[&PcrIndex::new(pcr).unwrap()];
        events.iter().find(|e| e.component.contains(word)).map(|e| e.digest)
    };
    assert_eq!(find(&got, 9, "command line"), find(&tuple, 9, "command line"));
    assert_eq!(find(&got, 11, "name of section .cmdline"), find(&tuple, 11, "name of section .cmdline"));
    assert_eq!(got.verity_hash, tuple.verity_hash);
    assert_eq!(got.events[&PcrIndex::new(4).unwrap()][..2], tuple.events[&PcrIndex::new(4).unwrap()][..2]);
}

#[test]
fn tuple_is_whole_and_named() {
    let tuple = measured(&uki()).unwrap();
    tuple.check().unwrap();
    assert_eq!((tuple.name.as_str(), tuple.version.as_str()), ("worker", "7"));
    assert_eq!(tuple.verity_hash, ROOT_HASH.parse().unwrap());
    assert_eq!(tuple.layout, Layout::LuksRoot);
    let mut ephemeral = uki();
    let cmdline = format!("console=ttyS0 ccnode.roothash={ROOT_HASH} ccnode.layout=ephemeral");
    ephemeral.set(".cmdline", cmdline.into_bytes());
    assert_eq!(measured(&ephemeral).unwrap().layout, Layout::Ephemeral);
    for index in [12, 13, 14] {
        assert_eq!(pcr(&tuple, index), Sha256Digest::ZERO);
    }
}

/// A changed command line or initramfs moves PCR 4, 9 and 11; a section's name in the event says which.
#[test]
fn changed_parts_move_their_pcrs() {
    let base = measured(&uki()).unwrap();
    for (name, content) in [
        (".cmdline", format!("init=/bin/sh ccnode.roothash={ROOT_HASH}").into_bytes()),
        (".initrd", b"initramfS".to_vec()),
    ] {
        let mut changed = uki();
        changed.set(name, content);
        let got = measured(&changed).unwrap();
        for index in [4, 9, 11] {
            assert_ne!(pcr(&got, index), pcr(&base, index), "PCR {index} for {name}");
        }
        let eleven = PcrIndex::new(11).unwrap();
        let differing: Vec<_> = got.events[&eleven]
            .iter()
            .zip(&base.events[&eleven])
            .filter(|(a, b)| a.digest != b.digest)
            .map(|(a, _)| a.component.clone())
            .collect();
        assert_eq!(differing, [format!("section {name} of the UKI")]);
    }
}

#[test]
fn signature_of_the_inner_kernel_counts_by_section_only() {
    let mut resigned = uki();
    resigned.set(".linux", image(&[(".text", &[0x90; 50])], b"another one"));
    let (base, got) = (measured(&uki()).unwrap(), measured(&resigned).unwrap());
    let inner = |tuple: &ImageTuple| tuple.events[&PcrIndex::new(4).unwrap()][3].digest;
    assert_eq!(inner(&base), inner(&got));
    assert_ne!(pcr(&base, 11), pcr(&got, 11));
}

#[test]
fn secure_boot_leaves_the_inner_kernel_out() {
    let bytes = uki().to_bytes().unwrap();
    let (off, on) =
        (measure_uki(&bytes, SecureBoot::Off).unwrap(), measure_uki(&bytes, SecureBoot::On).unwrap());
    let four = PcrIndex::new(4).unwrap();
    assert_eq!(off.events[&four][..3], on.events[&four][..]);
    assert_eq!(pcr(&off, 11), pcr(&on, 11));
}

#[test]
fn each_refusal_is_named() {
    let with = |name: &str, content: &[u8]| {
        let mut uki = uki();
        uki.set(name, content.to_vec());
        measured(&uki).unwrap_err()
    };
    assert!(matches!(measure_uki(b"text", SecureBoot::Off), Err(MeasureError::Uki(PeError::Magic(_)))));
    let stub = image(&[(".text", b"x")], b"");
    assert!(matches!(
        measure_uki(&stub, SecureBoot::Off),
        Err(MeasureError::Uki(PeError::Missing(".linux")))
    ));
    assert!(matches!(with(".linux", b"no PE"), MeasureError::Kernel(_)));
    assert!(matches!(with(".cmdline", b"a\n"), MeasureError::Cmdline(1)));
    assert!(matches!(with(".cmdline", b"console=ttyS0"), MeasureError::RootHash));
    assert!(matches!(with(".cmdline", b"ccnode.roothash=00"), MeasureError::RootHash));
    let twice = format!("ccnode.roothash={ROOT_HASH} ccnode.roothash={ROOT_HASH}");
    assert!(matches!(with(".cmdline", twice.as_bytes()), MeasureError::RootHash));
    let odd = format!("ccnode.roothash={ROOT_HASH} ccnode.layout=raid");
    assert!(matches!(with(".cmdline", odd.as_bytes()), MeasureError::Layout));
    let odd = format!("ccnode.roothash={ROOT_HASH} ccnode.data=b,a");
    assert!(matches!(with(".cmdline", odd.as_bytes()), MeasureError::Data));
    assert!(matches!(with(".osrel", b"ID=x\n"), MeasureError::Osrel("IMAGE_ID")));
    assert!(matches!(with(".osrel", b"IMAGE_ID=x\n"), MeasureError::Osrel("IMAGE_VERSION")));
    assert!(matches!(with(".pcrsig", b"{}"), MeasureError::Section(name) if name == ".pcrsig"));
}
