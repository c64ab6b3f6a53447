//! Node images: recipe → initramfs → unified kernel image → disk image, and the PCRs that it will lead to.
//!
//! Everything that is written is the same, bit for bit, for the same inputs: the recipe with the files it names, the
//! package versions of `packages.lock`, `/init`, its libraries, the certificates, and SOURCE_DATE_EPOCH where it is set.

mod apt;
mod build;
mod bytes;
mod cache;
pub mod cmdline;
pub mod cpio;
mod disk;
pub mod elf;
mod empty;
mod ext4;
mod gpt;
pub mod initramfs;
mod kernel;
mod measure;
pub mod modules;
pub mod pe;
mod platform;
mod recipe;
mod recovery;
mod rootfs;
mod source;
mod tool;
pub mod uki;

pub use apt::AptError;
pub use build::{BuildError, BuildReport, Inputs, Progress, Sizes, build, default_cache};
pub use disk::{DiskError, MARK_OFFSET};
pub use kernel::KernelError;
pub use measure::{MeasureError, SecureBoot, measure_uki};
pub use platform::{PlatformError, platform_tuple_from_log};
pub use recipe::{DataVolume, Platform, Recipe, RecipeError};
pub use rootfs::RootfsError;
pub use source::{Source, SourceError, root_source};
pub use tool::ToolError;
