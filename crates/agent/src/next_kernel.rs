//! Whether the services here would run on a kernel of which only the types are known.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, State};
use axum::routing::post;
use bytes::Bytes;
use skep_adapt::of_types::KernelTypes;
use skep_adapt::outlook::{Next, Outlook};
use skep_adapt::renamed::{Asked, with_old_names};
use skep_api::{NextKernel, ServiceOutlook, WillRun};
use skep_object::{Btf, Facts};
use skep_oci::regular;
use skep_runtime::{Packages as _, RuntimeError, facts_of};
use skep_spec::{Arch, ServiceName};
use skep_trust::Package;

use crate::blocking::blocking;
use crate::error::NodeError;
use crate::http::{Peer, Shared, read};
use crate::node::Node;
use crate::server::{Started, started};

/// The one question.
pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/v1/doctor/kernel", post(on_kernel))
}

async fn on_kernel(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Started {
    peer.is_root("have skepd read a file")?;
    let next: NextKernel = read(body)?;
    started(shared.operations.start(blocking(shared.node, move |node| node.on_kernel(&next))))
}

impl Node {
    /// What is known of each service on another kernel.
    ///
    /// # Errors
    /// The file cannot be read, or has no kernel's types.
    pub fn on_kernel(&self, next: &NextKernel) -> Result<Vec<ServiceOutlook>, NodeError> {
        let path = &next.btf;
        let unread = |source| NodeError::Read { path: path.clone(), source };
        let bytes = regular::bytes(path).map_err(unread)?;
        let none = |why: String| NodeError::Request(format!("{}: {why}", path.display()));
        let btf = Btf::parse(&bytes).map_err(|error| none(error.to_string()))?;
        let types = KernelTypes::of(&btf);
        if !types.are_whole() {
            let why = "these are not all of a kernel's own types: a module has only some";
            return Err(none(why.to_owned()));
        }
        let arch = Arch::host().ok_or(NodeError::Architecture)?;
        let kernel =
            Kernel { bytes: &bytes, next: Next { release: &next.release, arch, types: &types } };
        let names = self.runtime().names();
        names.iter().map(|name| self.outlook(name, &kernel)).collect()
    }

    fn outlook(
        &self,
        name: &ServiceName,
        kernel: &Kernel<'_>,
    ) -> Result<ServiceOutlook, NodeError> {
        let detail = self.runtime().service(name)?;
        let index = detail.status.index;
        let given = detail.params();
        let found = match self.shelf.package(&index) {
            Ok(package) => kernel.outlook(&package, &given)?,
            Err(source) => {
                let gone = NodeError::from(RuntimeError::Package { index, source });
                Outlook { open: vec![gone.text()], ..Outlook::default() }
            }
        };
        let Outlook { lacks, open, adapted } = found;
        let runs = match (lacks.is_empty(), open.is_empty()) {
            (false, _) => WillRun::No,
            (true, false) => WillRun::Unknown,
            (true, true) => WillRun::Yes,
        };
        let why = if lacks.is_empty() { open } else { lacks };
        let (service, package, version) =
            (name.clone(), detail.status.package, detail.status.version);
        Ok(ServiceOutlook { service, package, version, runs, why, adapted })
    }
}

struct Kernel<'a> {
    bytes: &'a [u8],
    next: Next<'a>,
}

impl Kernel<'_> {
    fn outlook(
        &self,
        package: &Package,
        given: &BTreeMap<String, String>,
    ) -> Result<Outlook, NodeError> {
        let objects = facts_of(package)?;
        let renamed = objects.values().find_map(|facts: &Facts| {
            let asked = Asked::by(facts);
            (!asked.is_empty()).then(|| with_old_names(self.bytes, &asked)).flatten()
        });
        let parsed = renamed.and_then(|(bytes, told)| Some((Btf::parse(&bytes).ok()?, told)));
        let Some((btf, told)) = parsed else {
            return Ok(Outlook::of(&package.manifest, &objects, given, &self.next));
        };
        let types = KernelTypes::of(&btf);
        let next = Next { types: &types, ..self.next };
        let mut found = Outlook::of(&package.manifest, &objects, given, &next);
        found.adapted.extend(told);
        Ok(found)
    }
}
