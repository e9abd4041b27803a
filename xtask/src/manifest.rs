//! Reads Cargo.toml files: the kernel's features, applications and their features. Also
//! lists the packages that are tested on the host.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::Table;

use crate::failure::Failure;

/// Returns the repository's root, which is the parent of `xtask/`.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The packages that have tests on the host.
pub const HOST_PACKAGES: [&str; 8] = [
    "xtask",
    "maps",
    "axbench",
    "axbench-aspace",
    "axmachine",
    "axalloc",
    "axmm",
    "memory_set",
];

/// The features that [`HOST_PACKAGES`] are tested with. Their feature `hal` is left out: it
/// connects a package with `axhal`, which needs a kernel.
pub const HOST_FEATURES: &str =
    "axbench/peers,axmachine/devicetree,axmachine/irq,axmachine/serial,axalloc/fault-injection";

/// The features with which the documentation of [`HOST_PACKAGES`] is checked.
pub const CHECKED_FEATURES: &str = "axbench/objects,axbench/peers,axmachine/devicetree,axmachine/irq,axmachine/serial,\
     axalloc/fault-injection,axmm/objects";

/// The packages that are tested once more with memory objects and copy-on-write.
pub const OBJECT_PACKAGES: [&str; 2] = ["axmm", "axmm-machines"];

/// The features that [`OBJECT_PACKAGES`] are tested with.
pub const OBJECT_FEATURES: &str = "axmm/objects,axmm-machines/objects";

/// The features and the tests of [`OBJECT_PACKAGES`]. `model` and the corpus are left out: they
/// know to the frame what an address space has, and no zero frame.
pub const OBJECT_TESTS: [&str; 23] = [
    "--features",
    OBJECT_FEATURES,
    "--lib",
    "--test",
    "fork",
    "--test",
    "forest",
    "--test",
    "fork_tlb",
    "--test",
    "map_object",
    "--test",
    "joint_flushes",
    "--test",
    "object_tlb",
    "--test",
    "objects",
    "--test",
    "listing",
    "--test",
    "listing_objects",
    "--test",
    "owners",
];

/// The packages whose tests run parts of the kernel as a Linux process. They are built in a
/// command of their own: cargo would otherwise enable their features in [`HOST_PACKAGES`] too.
pub const PROCESS_PACKAGES: [&str; 1] = ["linux-host"];

/// The packages with lock-free parts that loom tests in every interleaving.
pub const LOOM_PACKAGES: [&str; 4] = ["axalloc", "axhal", "axmm", "memory_set"];

/// The packages with parts that are too large for loom. shuttle tests them in many
/// schedules.
pub const SHUTTLE_PACKAGES: [&str; 2] = ["axhal", "axmm"];

/// Returns the argument that selects one of the repository's packages for cargo. It holds
/// the version, because the benchmarks depend on published packages with names of ours. All
/// packages of the repository have the version of xtask, but for one that takes the place of a
/// published package.
pub fn spec(package: &str) -> String {
    let version = match package {
        "memory_set" => "0.4.2",
        _ => env!("CARGO_PKG_VERSION"),
    };
    format!("{package}@{version}")
}

/// An application, which is a crate that depends on `axstd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The absolute path of its folder.
    pub dir: PathBuf,
    /// The name of its package.
    pub name: String,
    /// The name of its program.
    pub binary: String,
    /// The names of its features, without `default`.
    pub features: Vec<String>,
    /// Whether `axstd` is an optional dependency. Without the feature `axstd` such an
    /// application is an ordinary program that uses `std`.
    pub chooses_axstd: bool,
}

impl App {
    /// Reads the application in the folder `dir`.
    ///
    /// # Errors
    ///
    /// Fails if there is no readable Cargo.toml of an application, with the reason.
    pub fn read(dir: &Path) -> Result<App, String> {
        let path = dir.join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => "there is no Cargo.toml".to_owned(),
            _ => format!("its Cargo.toml cannot be read: {error}"),
        })?;
        let manifest: Table = text.parse().map_err(|error: toml::de::Error| {
            let message = error.message().replace('\n', ", ");
            format!("its Cargo.toml cannot be parsed: {message}")
        })?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(|name| name.as_str())
            .ok_or("its Cargo.toml has no package")?;
        let axstd = manifest
            .get("dependencies")
            .and_then(|all| all.get("axstd"))
            .ok_or("it does not depend on axstd")?;
        let optional = axstd.get("optional").and_then(|word| word.as_bool());
        let binary = manifest
            .get("bin")
            .and_then(|bins| bins.get(0)?.get("name")?.as_str())
            .unwrap_or(name);
        Ok(App {
            dir: fs::canonicalize(dir).map_err(|error| error.to_string())?,
            name: name.to_owned(),
            binary: binary.to_owned(),
            features: features_of(&manifest),
            chooses_axstd: optional == Some(true),
        })
    }

    /// Reads one of the repository's applications, whose path is `apps/NAME`.
    ///
    /// # Errors
    ///
    /// Fails like [`read`](Self::read). The message names the path.
    pub fn ours(path: &str) -> Result<App, Failure> {
        App::read(&root().join(path))
            .map_err(|reason| Failure::with_status(1, format!("{path}: {reason}")))
    }

    /// Returns whether the application is in the repository, and so in its workspace.
    pub fn is_ours(&self) -> bool {
        self.dir.starts_with(root())
    }
}

/// Returns the kernel's features, which are those of `api/axfeat`.
pub fn kernel_features() -> Result<Vec<String>> {
    let path = root().join("api/axfeat/Cargo.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: Table = text
        .parse()
        .with_context(|| format!("cannot parse {}", path.display()))?;
    Ok(features_of(&manifest))
}

/// Returns the names under `[features]`, without `default`.
fn features_of(manifest: &Table) -> Vec<String> {
    manifest
        .get("features")
        .and_then(|features| features.as_table())
        .map(|features| {
            features
                .keys()
                .filter(|name| *name != "default")
                .cloned()
                .collect()
        })
        .unwrap_or_default()
}

/// Returns the names of the crates in a folder of the repository, sorted.
pub fn crates_in(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_default_is_left_out() {
        let manifest: Table = "[features]\ndefault = []\nsmp = []\nalloc = []\n"
            .parse()
            .unwrap();
        assert_eq!(features_of(&manifest), ["alloc", "smp"]);
        assert!(features_of(&Table::new()).is_empty());
    }

    #[test]
    fn smp_is_a_feature_of_the_kernel() {
        let features = kernel_features().unwrap();
        assert!(
            features.iter().any(|feature| feature == "smp"),
            "{features:?}"
        );
    }

    #[test]
    fn applications_of_the_repository_are_read() {
        let app = App::read(&root().join("apps/helloworld")).unwrap();
        assert_eq!(
            (app.name.as_str(), app.binary.as_str()),
            ("helloworld", "helloworld")
        );
        assert!(app.is_ours() && !app.chooses_axstd);
        let app = App::read(&root().join("apps/parallel")).unwrap();
        assert!(app.chooses_axstd);
    }

    #[test]
    fn a_folder_without_an_application_is_refused_with_the_reason() {
        assert_eq!(
            App::read(&root().join("docs")),
            Err("there is no Cargo.toml".into())
        );
        assert_eq!(
            App::read(&root().join("xtask")),
            Err("it does not depend on axstd".into())
        );
        assert_eq!(
            App::read(root()),
            Err("its Cargo.toml has no package".into())
        );
    }
}
