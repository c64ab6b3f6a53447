//! What GRUB measures: texts with a label before them that the digest does not cover.

use crate::event::Event;
use crate::event_type::EV_IPL;

/// What GRUB calls a text that it measures into PCR 8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    /// The kernel's command line.
    Kernel,
    /// The command line of a module beside the kernel (an initrd under Xen, for one).
    Module,
    /// A command of its configuration.
    Command,
}

/// Labels as GRUB 2.04 writes them, and as the patches of distributions for earlier ones did.
const LABELS: [(&[u8], Label); 6] = [
    (b"kernel_cmdline: ", Label::Kernel),
    (b"module_cmdline: ", Label::Module),
    (b"grub_cmd: ", Label::Command),
    (b"grub_kernel_cmdline ", Label::Kernel),
    (b"grub_module_cmdline ", Label::Module),
    (b"grub_cmd ", Label::Command),
];

/// An event's label, and the text after it up to its NUL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labelled<'a> {
    pub(crate) label: Label,
    pub(crate) text: &'a [u8],
    /// The text and its NUL: some versions hash that.
    pub(crate) with_nul: Option<&'a [u8]>,
}

/// What an event says that has a label.
pub(crate) fn labelled<'a>(event: &Event<'a>) -> Option<Labelled<'a>> {
    if event.event_type != EV_IPL {
        return None;
    }
    let (label, rest) =
        LABELS.iter().find_map(|(label, kind)| Some((*kind, event.data.strip_prefix(*label)?)))?;
    // Some versions log a byte too many after the NUL.
    let end = rest.iter().position(|b| *b == 0);
    let text = rest.get(..end.unwrap_or(rest.len()))?;
    Some(Labelled { label, text, with_nul: end.and_then(|end| rest.get(..=end)) })
}
