use std::time::Duration;

use skep_spec::{Channel, Digest, PackageName};
use skep_trust::SecretKey;
use skep_trust::channel::Next;
use skep_trust::key::KeyKind;

use super::*;

#[test]
fn what_was_seen_is_never_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(&folder.path().join("state/channels.json"));
    let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
    let policy = Policy::of_keys(vec![key.public().unwrap()], 1);
    let (name, stable): (PackageName, Channel) =
        ("acme/exec".parse().unwrap(), "stable".parse().unwrap());
    let asked = Asked { name: &name, registry: None, channel: &stable };
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let bundle = |sequence, digest: &[u8]| {
        let next = Next {
            name: &name,
            channel: &stable,
            sequence,
            digest: Digest::of(digest),
            previous: None,
            issued: start,
            expires: start + Duration::from_secs(1000),
        };
        vec![next.sign(&key).unwrap()]
    };
    let follow = |bundles: &[Vec<u8>], after| {
        memory.follow(&asked, bundles, &policy, start + Duration::from_secs(after))
    };
    let code = |error| match error {
        FollowError::Channel(error) => error.code(),
        FollowError::Memory { .. } => "memory",
    };
    assert_eq!(memory.seen(&asked).unwrap(), None);
    let first = bundle(7, b"one");
    assert_eq!(follow(&first, 0).unwrap().digest, Digest::of(b"one"));
    assert_eq!(follow(&first, 1).unwrap().sequence, 7, "the same again");
    assert_eq!(code(follow(&bundle(6, b"zero"), 1).unwrap_err()), "channel.older");
    assert_eq!(code(follow(&bundle(7, b"two"), 1).unwrap_err()), "channel.equivocation");
    assert_eq!(code(follow(&first, 1001).unwrap_err()), "channel.expired");
    let last = |bundles: &[Vec<u8>]| {
        let id = key.public().unwrap().id();
        memory.last(&asked, bundles, &policy, &[id], start + Duration::from_secs(1001))
    };
    assert_eq!(last(&first).unwrap().sequence, 7, "who moves it may see it");
    assert_eq!(last(&bundle(6, b"zero")).unwrap().sequence, 6, "in another registry");
    assert_eq!(code(last(&bundle(7, b"two")).unwrap_err()), "channel.equivocation");
    // The clock was past the end once: set back, it brings nothing back.
    assert_eq!(code(follow(&first, 2).unwrap_err()), "channel.expired");
    memory.keep(&asked, Seen { sequence: 3, digest: Digest::of(b"old") }, start).unwrap();
    assert_eq!(memory.seen(&asked).unwrap().unwrap().sequence, 7);
    fs::write(folder.path().join("state/channels.json"), "{").unwrap();
    assert_eq!(code(follow(&first, 0).unwrap_err()), "memory", "it is not taken for none");
    assert_eq!(code(memory.now(start).unwrap_err()), "memory");
}

#[test]
fn moments_go_forward_and_no_wrong_clock_takes_them_far() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(&folder.path().join("channels.json"));
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let day = Duration::from_secs(86_400);
    assert_eq!(memory.now(start).unwrap(), start, "without a file");
    // A clock without a battery, and one that is far ahead.
    memory.saw(SystemTime::UNIX_EPOCH).unwrap();
    memory.saw(start + 40 * 365 * day).unwrap();
    assert_eq!(memory.now(start).unwrap(), start);
    memory.saw(start).unwrap();
    memory.saw(start - day).unwrap();
    assert_eq!((memory.now(start - day).unwrap(), memory.behind(start)), (start, None));
    assert_eq!(memory.now(start + day).unwrap(), start + day);
    let behind = memory.behind(start - day).unwrap();
    assert!(behind.contains("2027-01-15T08:00:00Z") && behind.contains("2027-01-14T08"));
    memory.saw(start + 10 * 365 * day + day).unwrap();
    assert_eq!(memory.now(start).unwrap(), start);
    memory.saw(start + 9 * 365 * day).unwrap();
    assert_eq!(memory.now(start).unwrap(), start + 9 * 365 * day);
}

/// The channel of a package, a publisher's key and one that nobody trusts.
struct World {
    _folder: tempfile::TempDir,
    memory: Memory,
    keys: [SecretKey; 2],
    name: PackageName,
    stable: Channel,
    start: SystemTime,
}

/// The publisher's key, and the other one.
const OURS: usize = 0;
const THROWAWAY: usize = 1;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            memory: Memory::new(&folder.path().join("channels.json")),
            _folder: folder,
            keys: [0, 1].map(|_| SecretKey::generate(KeyKind::Ed25519).unwrap()),
            name: "acme/exec".parse().unwrap(),
            stable: "stable".parse().unwrap(),
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked { name: &self.name, registry: None, channel: &self.stable }
    }

    fn pointer(&self, by: usize, sequence: u64, digest: &[u8]) -> Vec<Vec<u8>> {
        let next = Next {
            name: &self.name,
            channel: &self.stable,
            sequence,
            digest: Digest::of(digest),
            previous: None,
            issued: self.start,
            expires: self.start + Duration::from_secs(1000),
        };
        vec![next.sign(&self.keys[by]).unwrap()]
    }

    fn id(&self, key: usize) -> KeyId {
        self.keys[key].public().unwrap().id()
    }

    fn policy(&self, key: usize) -> Policy {
        Policy::of_keys(vec![self.keys[key].public().unwrap()], 1)
    }

    fn claim(&self, by: usize, digest: &[u8], sequence: u64) -> Claimed {
        let signed = (&[self.id(by)][..], Digest::of(digest));
        let pick = |_: u64| Ok::<u64, ()>(sequence);
        self.memory.claim(&self.asked(), signed, self.start, pick).unwrap().unwrap()
    }

    fn follow(&self, bundles: &[Vec<u8>]) -> Result<Pointer, FollowError> {
        self.memory.follow(&self.asked(), bundles, &self.policy(OURS), self.start)
    }

    fn last(&self, by: usize, bundles: &[Vec<u8>]) -> Result<Pointer, FollowError> {
        let (policy, id) = (self.policy(by), self.id(by));
        self.memory.last(&self.asked(), bundles, &policy, &[id], self.start)
    }

    fn sign_too(&self, bundles: &[Vec<u8>]) -> Result<Pointer, FollowError> {
        let (policy, id) = (self.policy(OURS), self.id(OURS));
        self.memory.sign_too(&self.asked(), bundles, &policy, id, self.start)
    }

    /// What was followed, and the highest of all.
    fn kept(&self) -> [Option<Seen>; 2] {
        let asked = self.asked();
        [self.memory.seen(&asked).unwrap(), self.memory.highest(&asked).unwrap()]
    }
}

fn seen(sequence: u64, digest: &[u8]) -> Seen {
    Seen { sequence, digest: Digest::of(digest) }
}

/// A sequence is signed once; whoever follows is held by what was followed alone.
#[test]
fn what_was_signed_is_remembered_beside_what_was_followed() {
    let world = World::new();
    // As an earlier skep wrote it.
    let old = seen(7, b"seven");
    let text = format!(
        r#"{{"time":"2026-11-01T00:00:00Z","channels":{{"acme/exec@stable":{{"sequence":7,"digest":"{}"}}}}}}"#,
        old.digest
    );
    fs::write(&world.memory.path, text).unwrap();
    assert_eq!(world.kept(), [Some(old); 2]);
    let previous = Some(old.digest);
    assert_eq!(world.claim(THROWAWAY, b"tried", 101), Claimed { sequence: 101, previous });
    assert_eq!(world.kept(), [Some(old), Some(seen(101, b"tried"))]);
    assert_eq!(world.follow(&world.pointer(OURS, 8, b"eight")).unwrap().sequence, 8);
    assert!(world.follow(&world.pointer(OURS, 7, b"seven")).is_err());
    // What the keys at hand have signed is not signed for something else; another key's is nobody's contradiction.
    assert!(world.last(THROWAWAY, &world.pointer(THROWAWAY, 101, b"another")).is_err());
    assert_eq!(world.last(OURS, &world.pointer(OURS, 101, b"another")).unwrap().sequence, 101);
    assert_eq!(world.kept()[0], Some(seen(8, b"eight")), "it was not followed");
}

#[test]
fn who_signs_too_is_held_by_what_that_key_has_signed() {
    let world = World::new();
    world.claim(OURS, b"first", 101);
    assert!(world.sign_too(&world.pointer(OURS, 100, b"older")).is_err());
    assert!(world.sign_too(&world.pointer(OURS, 101, b"another")).is_err());
    assert_eq!(world.sign_too(&world.pointer(OURS, 102, b"next")).unwrap().sequence, 102);
    assert_eq!(world.kept(), [None, Some(seen(102, b"next"))]);
    // What was not sent contradicts nobody, and its sequence stays taken.
    world.claim(OURS, b"late", 103);
    let theirs = world.pointer(OURS, 103, b"theirs");
    assert!(world.last(OURS, &theirs).is_err());
    world.memory.withdraw(&world.asked(), &[world.id(OURS)], 103, world.start).unwrap();
    assert_eq!(world.kept()[1], Some(seen(103, b"late")));
    assert_eq!(world.last(OURS, &theirs).unwrap().sequence, 103);
}
