//! Attaching what a run loaded.

use skep_kernel::attach::usdt;
use skep_kernel::{AttachPlan, KernelError, Link, Loaded, MapHandle, attach};
use skep_spec::{Target, chain};

use super::{Session, advised};
use crate::at_map;
use crate::choose::Chosen;

impl Session {
    pub(super) fn attach_all(&mut self, chosen: &[Chosen], pid: Option<u32>) {
        for one in chosen {
            let here = self.objects.iter().find(|(name, _)| *name == one.object);
            let Some((_, loaded)) = here else { continue };
            let Some(program) = loaded.program(&one.function) else { continue };
            let link = match &one.target {
                target if !attach::is_known(target) => loaded.attach_by_section(&one.function),
                // Where a program must know probes by their addresses, libbpf says it those.
                Target::Usdt { .. } if !usdt::has_cookies() => {
                    loaded.attach_by_section(&one.function)
                }
                target => match at_map::interface(target) {
                    Some(map) => loaded.attach_interface(map),
                    None => self.map_at(one).and_then(|map| {
                        attach_one(program, target, loaded, (one.pid.or(pid), map))
                    }),
                },
            };
            match link {
                Ok(link) => {
                    self.links.push(link);
                    self.attached.push((one.name.clone(), one.target.clone()));
                }
                Err(error) => {
                    self.skipped.push((one.name.clone(), advised(chain(&error), error.hint())));
                }
            }
        }
    }

    /// The id of the map that a program's target names: as `OBJECT/MAP` that object's, else its own object's or another one's that
    /// has one of the name.
    fn map_at(&self, one: &Chosen) -> Result<Option<u32>, KernelError> {
        let Some(place) = at_map::own_map(&one.target) else { return Ok(None) };
        let (object, symbol) = place.split_once('/').map_or((None, place), |(o, s)| (Some(o), s));
        let of = |name: &str| self.objects.iter().find(|(object, _)| object == name);
        let found = match object {
            Some(object) => of(object).and_then(|(_, loaded)| loaded.map(symbol)),
            None => {
                let own = of(&one.object).into_iter().chain(&self.objects);
                own.filter_map(|(_, loaded)| loaded.map(symbol)).next()
            }
        };
        let why = || match object {
            Some(object) if of(object).is_none() => {
                let there: Vec<&str> = self.objects.iter().map(|(name, _)| name.as_str()).collect();
                format!("no object '{object}' runs here, but {}", there.join(", "))
            }
            Some(object) => format!("the object '{object}' has no such map"),
            None => "no object that runs here has it".to_owned(),
        };
        let refused = || {
            let thing = format!("the map '{symbol}' that {} names", one.target);
            KernelError::unsupported("find", thing, why())
                .with_hint("name a map of an object that runs, or the path of a pinned one")
        };
        found.map(|map| Some(map.info().id)).ok_or_else(refused)
    }
}

fn attach_one(
    program: &skep_kernel::Program,
    target: &Target,
    loaded: &Loaded,
    (pid, map): (Option<u32>, Option<u32>),
) -> Result<Link, KernelError> {
    let maps = loaded.map(usdt::SPECS).map(MapHandle::try_clone).transpose()?;
    let probe = usdt::Probe::find(target)?;
    let usdt = probe.map(|probe| probe.describe(maps.as_slice())).transpose()?;
    attach::attach(program, &AttachPlan { pid, map, usdt, ..AttachPlan::new(target.clone()) })
}
