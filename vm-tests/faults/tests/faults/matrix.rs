//! The matrix: each step of `ccnode/1` and of a stock session under each fault, what comes of it, and what the next boot finds.

use crate::after;
use crate::full::Small;
use crate::node::{Node, Tpm, stock};
use crate::proxy::{FAULTS, Fault, Proxy};
use crate::service::{CONTENT, Service};
use ccnode_evidence::Code;
use ccnode_protocol::{ATTEST, AUTH, CERTIFICATE, FORMATTED, GRANTS, READY};
use ccnode_vm_harness::{TpmMaker, TpmState};
use futures_util::{StreamExt as _, stream};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const STEPS: [&str; 6] = [AUTH, ATTEST, GRANTS, FORMATTED, READY, CERTIFICATE];
const STOCK_RESOURCE: &str = "/kbs/v0/resource/default/disk/root";
const STOCK_STEPS: [&str; 3] = [AUTH, ATTEST, STOCK_RESOURCE];
/// Cells at a time: most of a cell is waiting.
const AT_ONCE: usize = 10;
const UNSPOILT: Duration = Duration::from_secs(60);

/// Whose steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Ccnode,
    Stock,
}

/// How the boot must end that meets the fault.
fn due(step: &str, fault: Fault) -> Result<(), Code> {
    match fault {
        // An answer without a body has no half.
        Fault::Shorten if [FORMATTED, READY].contains(&step) => Ok(()),
        Fault::Shorten => Err(Code::ServiceGarbage),
        Fault::Down => Err(Code::ServiceUnreachable),
        // At `auth` nothing is written: then the next step is refused. A resource is read with a row in the audit log, or not at all.
        Fault::DiskStaysFull | Fault::SpaceStaysGone => Err(Code::Internal),
        _ => Ok(()),
    }
}

/// The deadline of the boot that meets the fault: whatever passes is given time, whatever lasts is not.
fn span(fault: Fault) -> Duration {
    Duration::from_secs(match fault {
        Fault::Down | Fault::DiskStaysFull | Fault::SpaceStaysGone => 6,
        _ => 45,
    })
}

struct Cell {
    way: Way,
    step: &'static str,
    fault: Fault,
    ended: Result<(), Code>,
    took: Duration,
}

impl Cell {
    fn shown(&self) -> String {
        self.ended.map_or_else(|code| code.to_string(), |()| "unlocked".to_owned())
    }
}

fn cells(way: Way, steps: &[&'static str], faults: &[Fault]) -> Vec<(Way, &'static str, Fault)> {
    steps.iter().flat_map(|step| faults.iter().map(move |fault| (way, *step, *fault))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn every_step_under_every_fault() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = TpmMaker::open(tmp.join("faults-tpms")).unwrap();
    let (template, another) = (made.template("node").unwrap(), made.template("another").unwrap());
    let service = Service::made(&[made.root_ca_pem().unwrap(), made.issuer_ca_pem().unwrap()]).await;

    let only = std::env::var("CCNODE_FAULT").ok();
    let mountable = Small::is_possible();
    let wanted = |cell: &(Way, &str, Fault)| {
        let named = format!("{:?} {} {:?}", cell.0, cell.1, cell.2);
        (mountable || !cell.2.wants_mount()) && only.as_ref().is_none_or(|only| named.contains(only))
    };
    let mut all = cells(Way::Ccnode, &STEPS, &FAULTS);
    all.extend(cells(Way::Stock, &STOCK_STEPS, &FAULTS));
    all.retain(wanted);
    let cell = |(way, step, fault): (Way, &'static str, Fault)| {
        let (service, template, another) = (service.clone(), template.clone(), another.clone());
        let run = async move {
            let service = service.twin(fault.wants_mount()).await;
            let proxy = Proxy::start(&service).await;
            let (ended, took) = match way {
                Way::Stock => in_stock_mode(&service, &proxy, &template, step, fault).await,
                Way::Ccnode => joining(&service, &proxy, [&template, &another], step, fault).await,
            };
            Cell { way, step, fault, ended, took }
        };
        // A task of its own: what blocks in one cell is not to use up the time of another.
        async { tokio::spawn(run).await.unwrap() }
    };
    let cells: Vec<Cell> = stream::iter(all.into_iter().map(cell)).buffer_unordered(AT_ONCE).collect().await;
    let table = table(&cells);
    println!("{table}");
    std::fs::write(tmp.parent().unwrap().join("faults.md"), &table).unwrap();
    for cell in &cells {
        assert_eq!(cell.ended, due(cell.step, cell.fault), "{:?} {} {:?}", cell.way, cell.step, cell.fault);
    }
}

/// A first boot that meets the fault, a second one, one of another node; then what is on record.
async fn joining(
    service: &Service,
    proxy: &Proxy,
    [template, another]: [&TpmState; 2],
    step: &'static str,
    fault: Fault,
) -> (Result<(), Code>, Duration) {
    let mut node = Node::new(Tpm::of(template));
    proxy.spoil(step, fault);
    let (first, ended) = node.boot(service, proxy, span(fault)).await;
    let took = first.took;
    let case = format!("{step} {fault:?} -> {ended:?}");
    assert!(took < span(fault) + Duration::from_secs(2), "{case}: not within its deadline, {took:?}");
    assert!(proxy.met(), "{case}: the fault met nothing");
    service.start().await;
    service.disk_is_full(false).await;
    assert_eq!(ended.is_ok(), first.certified, "{case}");
    // The next boot finishes or restarts what was begun, the one after opens it.
    let (second, joined) = node.boot(service, proxy, UNSPOILT).await;
    assert_eq!(joined, Ok(()), "{case}: the boot after");
    after::goes_on_from(&first, &second);
    node.misuse(&first).await;
    node.misuse(&second).await;
    let (third, joined) = node.boot(service, proxy, UNSPOILT).await;
    assert_eq!(joined, Ok(()), "{case}: the boot after that");
    assert!(third.format().is_none(), "{case}: opened");
    after::goes_on_from(&second, &third);
    let mut other = Node::new(Tpm::of(another));
    let (foreign, joined) = other.boot(service, proxy, UNSPOILT).await;
    assert_eq!(joined, Ok(()), "{case}: another node");
    service.stop().await;
    after::on_record(service, &[&first, &second, &third], &foreign).await;
    (ended, took)
}

/// A stock session that meets the fault, and one after it.
async fn in_stock_mode(
    service: &Service,
    proxy: &Proxy,
    template: &TpmState,
    step: &'static str,
    fault: Fault,
) -> (Result<(), Code>, Duration) {
    let mut tpm = Tpm::of(template);
    proxy.spoil(step, fault);
    let (read, took) = stock(&mut tpm, service, proxy, span(fault)).await;
    let case = format!("stock {step} {fault:?} -> {:?}", read.as_ref().err());
    assert!(took < span(fault) + Duration::from_secs(2), "{case}: not within its deadline, {took:?}");
    assert!(proxy.met(), "{case}: the fault met nothing");
    service.start().await;
    service.disk_is_full(false).await;
    let (after, _) = stock(&mut tpm, service, proxy, UNSPOILT).await;
    assert_eq!(after.as_deref(), Ok(CONTENT), "{case}: the session after");
    service.stop().await;
    assert_eq!(service.audit_verified().await, Ok(()), "{case}");
    assert!(!after::rows(service).await.is_empty());
    (read.map(|content| assert_eq!(content, CONTENT)), took)
}

fn table(cells: &[Cell]) -> String {
    let mut out = String::from(
        "# Faults\n\nEach step of the protocol, the fault it met, how that boot ended, and after how long; the TPMs are swtpm's.\n",
    );
    for (way, title, steps) in
        [(Way::Ccnode, "`ccnode/1`", &STEPS[..]), (Way::Stock, "stock", &STOCK_STEPS[..])]
    {
        let names: Vec<&str> = steps.iter().map(|step| step.rsplit('/').next().unwrap()).collect();
        let names = names.join(" | ").replace("root", "resource");
        let _ = write!(out, "\n## {title}\n\n| fault | {names} |\n|---{}|\n", "|---".repeat(steps.len()));
        for fault in FAULTS {
            let of = |step: &&str| {
                let same = |cell: &&Cell| cell.way == way && cell.step == *step && cell.fault == fault;
                let cell = cells.iter().find(same)?;
                Some(format!("{} ({:.1} s)", cell.shown(), cell.took.as_secs_f64()))
            };
            let row: Vec<Option<String>> = steps.iter().map(of).collect();
            if row.iter().any(Option::is_some) {
                let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
                let _ = writeln!(out, "| {fault:?} | {} |", row.join(" | "));
            }
        }
    }
    out
}
