//! `skep export`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use skep_kit::export;
use skep_oci::Store;
use skep_spec::{Arch, Digest};

use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::options::PlaceOptions;
use crate::output::{Output, lossy};
use crate::passing::Passing;
use crate::subject::Subject;

/// Write a package as images that another tool takes
///
/// bpfman's client in Go loads a package's first object out of the package itself, its releases in Rust do not. This makes what
/// its specification asks for, of every object: an ordinary image of one layer. Nobody's signature is checked, and none goes
/// along.
#[derive(Debug, Args)]
pub struct Export {
    /// A layout, a bundle, or [registry/]publisher/name:version
    #[arg(value_name = "LAYOUT|BUNDLE|REF")]
    what: OsString,
    /// Which tool
    #[arg(long, value_enum)]
    to: Peer,
    /// The layout to make or add to
    #[arg(long, short = 'o', value_name = "LAYOUT")]
    out: PathBuf,
    /// Only for this architecture: images without an index
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    #[command(flatten)]
    place: PlaceOptions,
}

/// A tool that takes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// Its bytecode images
    Bpfman,
}

#[derive(Serialize)]
struct Answer {
    package: String,
    #[serde(serialize_with = "lossy")]
    layout: PathBuf,
    images: Vec<Image>,
    left: Vec<String>,
}

#[derive(Serialize)]
struct Image {
    name: String,
    digest: Digest,
    architectures: Vec<Arch>,
    programs: BTreeMap<String, String>,
}

impl Export {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such package, an object has no program for the tool, or the layout cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let subject = Subject::find(&self.what, &self.place, self.arch, config)?;
        let Some(package) = subject.package else {
            let what = self.what.display();
            return Err(Error::usage(format!("'{what}' is no package"))
                .hint("skep pack makes one of a project, skep import a project of an object"));
        };
        let mut objects: BTreeMap<String, export::Object> = BTreeMap::new();
        for object in subject.objects {
            let each = object.architectures.iter().map(|arch| (*arch, object.bytes.clone()));
            objects.entry(object.name).or_default().extend(each);
        }
        let new = Passing::of(Store::would_make(&self.out))?;
        let store = Store::create(&self.out).map_err(failed)?;
        let Peer::Bpfman = self.to;
        let made = export::to_bpfman(&store, &objects).map_err(|error| {
            let name = &package.manifest.package.name;
            Error::caused(Kind::Failed, format!("can't export {name} to bpfman"), &error)
        })?;
        new.keep();
        let mut left = export::left(&package.manifest);
        let mut images = Vec::new();
        for image in made {
            let architectures = objects.get(&image.name).into_iter().flat_map(BTreeMap::keys);
            let architectures = architectures.copied().collect();
            left.extend(image.left.iter().map(|name| {
                format!("the program '{name}' of '{}', of a type that bpfman has not", image.name)
            }));
            let (name, digest, programs) = (image.name, image.digest, image.programs);
            images.push(Image { name, digest, architectures, programs });
        }
        let package = package.reference();
        let answer = Answer { package, layout: self.out, images, left };
        let digests: Vec<Digest> = answer.images.iter().map(|image| image.digest).collect();
        output.packaged(&answer, &digests, || answer.text());
        Ok(())
    }
}

impl Answer {
    fn text(&self) -> String {
        let layout = self.layout.display();
        let mut lines = vec![format!("Exported {} into {layout} for bpfman", self.package)];
        for image in &self.images {
            let programs = image.programs.iter().map(|(name, kind)| format!("{name} ({kind})"));
            let programs = programs.collect::<Vec<_>>().join(", ");
            lines.push(format!("{} {}: {programs}", image.name, image.digest));
        }
        if !self.left.is_empty() {
            lines.push("left behind:".to_owned());
            lines.extend(self.left.iter().map(|what| format!("  {what}")));
        }
        if let Some(first) = self.images.first() {
            let name = &first.name;
            lines.push(format!(
                "Next: skopeo copy --all oci:{layout}:{name} docker://REGISTRY/{name}:TAG"
            ));
        }
        lines.join("\n")
    }
}
