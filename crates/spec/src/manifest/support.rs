//! What this version of skep does with a manifest: what it must refuse, and what it leaves alone.

use super::{Manifest, Map, Param, Program};

impl Manifest {
    /// What it declares that this version of skep cannot do: an install must refuse these.
    #[must_use]
    pub fn unsupported(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, program) in &self.program {
            let shared = program.exclusive == Some(false);
            found.extend(shared.then(|| format!("program.{name}.exclusive = false")));
        }
        found.extend(self.map.iter().flat_map(|(name, map)| map.unsupported(name)));
        for (name, param) in &self.param {
            found.extend(param.is_list().then(|| format!("param.{name}.many = true")));
        }
        found
    }

    /// What it declares that this version of skep does not act on, though the package runs without.
    #[must_use]
    pub fn unheeded(&self) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(self.health.as_ref().map(|_| "health".to_owned()));
        found.extend(self.limits.as_ref().map(|_| "limits".to_owned()));
        found.extend(self.requirements.as_ref().map(|_| "requirements".to_owned()));
        found.extend(self.program.iter().flat_map(|(name, program)| program.unheeded(name)));
        found
    }
}

impl Program {
    fn unheeded(&self, name: &str) -> impl Iterator<Item = String> {
        let order = self.order.map(|_| format!("program.{name}.order"));
        order.into_iter().chain(self.on_limit.map(|_| format!("program.{name}.on-limit")))
    }
}

impl Map {
    fn unsupported(&self, name: &str) -> impl Iterator<Item = String> {
        let role = self.role.as_ref().map(|role| format!("map.{name}.role = \"{role}\""));
        let persist = self.persist == Some(true);
        let persist = persist.then(|| format!("map.{name}.persist = true"));
        [role, persist].into_iter().flatten()
    }
}

impl Param {
    fn is_list(&self) -> bool {
        self.many == Some(true)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_declared_and_not_done_is_named() {
        let text = include_str!("../../../../spec/vectors/files/manifest/whole.json");
        let manifest = super::Manifest::parse(text.trim_end().as_bytes()).unwrap();
        insta::assert_snapshot!(manifest.unsupported().join("\n"));
        insta::assert_snapshot!(manifest.unheeded().join("\n"));
    }

    #[test]
    fn a_plain_package_asks_for_nothing_else() {
        let text = r#"{"objects":{},"package":{"license":"MIT","name":"a/b","version":"1.0.0"},"spec":"1.0"}"#;
        let manifest = super::Manifest::parse(text.as_bytes()).unwrap();
        assert!(manifest.unsupported().is_empty() && manifest.unheeded().is_empty());
    }
}
