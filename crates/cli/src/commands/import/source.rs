//! What is imported: files that hold objects, a package.json of eunomia's, or an image, out of a layout or a registry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use skep_kit::import::peer::{Format, Peer, PeerError, eunomia};
use skep_kit::import::{self, Said};
use skep_oci::image::{Image, ImagePlace, ImageRef};
use skep_oci::regular;
use skep_spec::Arch;
use skep_spec::reference::is_registry;

use crate::config::Config;
use crate::error::{Error, Kind, Result, of_image};
use crate::named;
use crate::options::Transport;
use crate::passing::interruptible;
use crate::place::{self, is_path};
use crate::subject::{self, ObjectBytes};

/// What came of what was named.
pub struct Source {
    /// What a package of it is called, where nobody says.
    pub name: String,
    /// The objects.
    pub objects: Vec<Candidate>,
    /// What is said of them elsewhere.
    pub said: Said,
    /// What has no place in a project.
    pub unmapped: Vec<String>,
}

/// An object that may be imported.
pub struct Candidate {
    /// Its name, which those for other architectures share.
    pub name: String,
    /// What it is said to be for; nothing where the code decides.
    pub arches: Vec<Arch>,
    /// The architecture of the image that it came in.
    pub image: Option<Arch>,
    /// It.
    pub object: ObjectBytes,
}

impl Source {
    /// Reads all that is named.
    ///
    /// # Errors
    /// It is not there, is none of those, or an image is named beside something else.
    pub fn read(
        named: &[PathBuf],
        tag: Option<String>,
        transport: Transport,
        config: &Config,
    ) -> Result<Self> {
        let [first, more @ ..] = named else { return Err(Error::usage("nothing is named")) };
        let place = image(first, tag.clone(), transport, config)?;
        if tag.is_some() && !matches!(place, Some(ImagePlace::Layout(..))) {
            return Err(Error::usage("--tag is for layouts: the tag of a reference is in it"));
        }
        let alone = match place {
            Some(place) => Some(Self::image(first, &place)?),
            None => Self::package(first)?,
        };
        match alone {
            None => Self::files(named),
            Some(source) if more.is_empty() => Ok(source),
            Some(_) => Err(Error::usage(format!(
                "'{}' is imported alone: what it says is of its own objects",
                first.display()
            ))),
        }
    }

    fn image(named: &Path, place: &ImagePlace) -> Result<Self> {
        let name = match place {
            ImagePlace::Registry(_, reference) => {
                reference.repository.rsplit('/').next().unwrap_or_default().to_owned()
            }
            ImagePlace::Layout(..) => stem(named),
        };
        let not = |error: PeerError| {
            Error::caused(Kind::Failed, format!("can't import the image {place}"), &error)
        };
        let image = interruptible(async {
            let mut image = Image::open(place).await.map_err(of_image)?;
            let format = Format::of(&image).map_err(not)?;
            image.bring(place, |platform| format.layers(platform)).await.map_err(of_image)?;
            Ok((format, image))
        });
        let (format, image) = image?;
        let peer = format.read(&image, &object_name(&name)).map_err(not)?;
        Ok(Self::of(peer, name, Kind::Failed, &place.to_string()))
    }

    /// What a package.json holds; nothing of another file.
    fn package(file: &Path) -> Result<Option<Self>> {
        let bytes = named::read(file, regular::bytes)?;
        if !eunomia::is_package(&bytes) {
            return Ok(None);
        }
        let (name, shown) = (stem(file), file.display().to_string());
        let peer = eunomia::read(&bytes, &object_name(&name))
            .map_err(|error| Error::caused(Kind::Usage, format!("can't import {shown}"), &error))?;
        Ok(Some(Self::of(peer, name, Kind::Usage, &shown)))
    }

    fn of(peer: Peer, name: String, wrong: Kind, shown: &str) -> Self {
        let Peer { objects, said, unmapped } = peer;
        let objects = objects.into_iter().map(|found| {
            let place = format!("the object '{}' in {shown}", found.name);
            let (name, bytes) = (object_name(&found.name), found.bytes);
            let architectures = Vec::new();
            let object = ObjectBytes { name: name.clone(), place, wrong, bytes, architectures };
            Candidate { name, arches: found.arches, image: found.image, object }
        });
        let name = said.name.clone().unwrap_or(name);
        Self { name, objects: objects.collect(), said, unmapped }
    }

    /// Objects, and binaries that embed some, each object with a name of its own.
    fn files(files: &[PathBuf]) -> Result<Self> {
        let (mut objects, mut names) = (Vec::new(), BTreeSet::new());
        for file in files {
            for object in subject::file(file)? {
                let name = import::unique(&named_as(&object, file), &names);
                names.insert(name.clone());
                objects.push(Candidate { name, arches: Vec::new(), image: None, object });
            }
        }
        let name = files.first().map(|file| stem(file)).unwrap_or_default();
        Ok(Self { name, objects, said: Said::default(), unmapped: Vec::new() })
    }
}

/// The image that is named: a folder is a layout, what is no file and begins with a registry a reference.
fn image(
    named: &Path,
    tag: Option<String>,
    transport: Transport,
    config: &Config,
) -> Result<Option<ImagePlace>> {
    if named.is_dir() {
        return Ok(Some(ImagePlace::Layout(place::layout(named)?, tag)));
    }
    let text = named.to_str().filter(|text| !named.exists() && !is_path(text));
    let Some((text, (first, _))) = text.and_then(|text| Some((text, text.split_once('/')?))) else {
        return Ok(None);
    };
    if !is_registry(first) || Path::new(first).is_dir() {
        return Ok(None);
    }
    let reference: ImageRef = text.parse().map_err(|error| {
        Error::usage(format!("{error}"))
            .hint("write host[:port]/repository:tag, or the name of a file that is there")
    })?;
    let registry = place::registry_at(&reference.registry, transport, config)?;
    Ok(Some(ImagePlace::Registry(Box::new(registry), reference)))
}

/// What a file is called, without what follows its first dot.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// An object's name: of one that is embedded its number's, otherwise its file's.
fn named_as(object: &ObjectBytes, file: &Path) -> String {
    let is_file = file.file_name().is_some_and(|name| name.to_string_lossy() == object.name);
    if is_file { import::label(&stem(file), '_') } else { object.name.clone() }
}

fn object_name(text: &str) -> String {
    import::unique(&import::label(text, '_'), &BTreeSet::new())
}
