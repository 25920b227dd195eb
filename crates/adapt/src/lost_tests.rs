//! The rewritten program computes what the original computes, and counts.

use proptest::prelude::*;
use skep_object::insn::{EXIT, JCOND, class};

use super::*;

const SLOT: Slot = Slot { map_fd: 77, offset: 16 };
const MOV64_IMM: u8 = 0xb7;
const ADD64_IMM: u8 = 0x07;
const ADD64_REG: u8 = 0x0f;
const LOOP: i32 = 181;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

fn helper(id: i32) -> Insn {
    insn(CALL, 0, 0, 0, id)
}

fn exit() -> Insn {
    insn(EXIT, 0, 0, 0, 0)
}

/// What a run shows to the outside.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    /// Helper and the registers that outlive a call, at each call.
    calls: Vec<(i32, [u64; 5])>,
    failures: u64,
    result: Option<u64>,
}

/// Runs programs: arithmetic, jumps, calls. Results of helpers come from a seed.
struct Machine<'a> {
    insns: &'a [Insn],
    seed: u64,
    trace: Trace,
    counted: u64,
    backward: usize,
    budget: usize,
}

impl Machine<'_> {
    fn run(insns: &[Insn], seed: u64) -> (Trace, u64) {
        let mut machine =
            Machine { insns, seed, trace: Trace::default(), counted: 0, backward: 0, budget: 0 };
        machine.trace.result = machine.function(0, [0; 10], 0);
        (machine.trace, machine.counted)
    }

    /// None when a limit ends the run, at the same step for both programs.
    fn function(&mut self, start: usize, mut regs: [u64; 10], depth: usize) -> Option<u64> {
        if depth > 6 {
            return None;
        }
        let mut at = start;
        loop {
            let insn = self.insns[at];
            let (dst, src) = (usize::from(insn.dst), usize::from(insn.src));
            let mut next = at as i64 + 1;
            match insn.code {
                MOV64_IMM => regs[dst] = insn.imm as u64,
                ADD64_IMM => regs[dst] = regs[dst].wrapping_add(insn.imm as u64),
                ADD64_REG => regs[dst] = regs[dst].wrapping_add(regs[src]),
                LD_IMM64 => {
                    let second = self.insns[at + 1];
                    assert_eq!(second.code, 0, "second half of ld_imm64 at {at}");
                    regs[dst] = match insn.src {
                        PSEUDO_MAP_VALUE => {
                            assert_eq!((insn.imm, second.imm), (77, 16));
                            0xc0de
                        }
                        PSEUDO_FUNC => (next + i64::from(insn.imm)) as u64,
                        _ => insn.imm as u32 as u64 | (second.imm as u64) << 32,
                    };
                    next += 1;
                }
                0xdb => {
                    assert_eq!(regs[dst], 0xc0de);
                    self.counted += regs[src];
                }
                CALL if insn.src == PSEUDO_CALL => {
                    let to = (next + i64::from(insn.imm)) as usize;
                    regs[0] = self.function(to, regs, depth + 1)?;
                    regs[1..6].fill(0xdead);
                }
                CALL => {
                    regs[0] = self.helper(insn.imm, &regs, depth)?;
                    regs[1..6].fill(0xdead);
                }
                EXIT => return Some(regs[0]),
                JA32 => next += i64::from(insn.imm),
                _ if insn.is_jump() && self.taken(insn, &regs) => next += i64::from(insn.off),
                _ => {}
            }
            if next <= at as i64 {
                self.backward += 1;
                if self.backward > 30 {
                    return None;
                }
            }
            at = next as usize;
        }
    }

    fn helper(&mut self, id: i32, regs: &[u64; 10], depth: usize) -> Option<u64> {
        self.trace.calls.push((id, [regs[0], regs[6], regs[7], regs[8], regs[9]]));
        if self.trace.calls.len() > 300 {
            return None;
        }
        if id == LOOP {
            return self.function(regs[2] as usize, [3; 10], depth + 1);
        }
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let result = self.seed >> 62;
        let failed = match id {
            RINGBUF_RESERVE => result == 0,
            RINGBUF_OUTPUT | RINGBUF_RESERVE_DYNPTR => result != 0,
            _ => false,
        };
        self.trace.failures += u64::from(failed);
        Some(result)
    }

    fn taken(&mut self, insn: Insn, regs: &[u64; 10]) -> bool {
        let left = regs[usize::from(insn.dst)];
        let right =
            if insn.code & 8 != 0 { regs[usize::from(insn.src)] } else { insn.imm as i64 as u64 };
        let (left, right) = match insn.class() {
            class::JMP32 => (u64::from(left as u32), u64::from(right as u32)),
            _ => (left, right),
        };
        match insn.code & 0xf0 {
            0x00 => true,
            0x10 => left == right,
            0x50 => left != right,
            0x20 => left > right,
            0xe0 => {
                self.budget += 1;
                self.budget > 5
            }
            other => panic!("jump {other:#x}"),
        }
    }
}

/// One step of a generated function; targets are steps of the same function, or functions.
#[derive(Clone, Debug)]
enum Step {
    Mov(u8, i32),
    Add(u8, u8),
    Load(u8, i32),
    Helper(i32),
    Call(usize),
    Loop(usize),
    Jump { code: u8, dst: u8, src: u8, imm: i32, to: usize },
    Goto32(usize),
    Exit,
}

fn step() -> impl Strategy<Value = Step> {
    // After a call r1 to r5 hold nothing, so that programs use the others.
    let reg = prop::sample::select(vec![0u8, 6, 7, 8, 9]);
    let helper = prop::sample::select(vec![130, 131, 198, 5]);
    let jumps = prop::sample::select(vec![JA, 0x15, 0x55, 0x25, 0x1d, 0x16, 0x56, JCOND]);
    prop_oneof![
        1 => (reg.clone(), -2..3i32).prop_map(|(r, imm)| Step::Mov(r, imm)),
        1 => (reg.clone(), reg.clone()).prop_map(|(a, b)| Step::Add(a, b)),
        1 => (reg.clone(), any::<i32>()).prop_map(|(r, imm)| Step::Load(r, imm)),
        4 => helper.prop_map(Step::Helper),
        1 => (0..4usize).prop_map(Step::Call),
        1 => (0..4usize).prop_map(Step::Loop),
        4 => (jumps, reg.clone(), reg, -1..3i32, 0..40usize)
            .prop_map(|(code, dst, src, imm, to)| Step::Jump { code, dst, src, imm, to }),
        1 => (0..40usize).prop_map(Step::Goto32),
        1 => Just(Step::Exit),
    ]
}

fn assemble(functions: &[Vec<Step>]) -> Vec<Insn> {
    let width = |step: &Step| match step {
        Step::Load(..) => 2,
        Step::Loop(_) => 3,
        _ => 1,
    };
    let mut starts = Vec::new();
    let mut places = Vec::new();
    let mut at = 0;
    for steps in functions {
        starts.push(at);
        let mut of_steps = Vec::new();
        for step in steps {
            of_steps.push(at);
            at += width(step);
        }
        of_steps.push(at); // the exit
        at += 2;
        places.push(of_steps);
    }
    let mut out = Vec::new();
    for (steps, places) in functions.iter().zip(&places) {
        for step in steps {
            let here = out.len() as i64 + 1;
            let to_step = |to: &usize| places[to % places.len()] as i64 - here;
            let to_function = |to: &usize| (starts[to % starts.len()] as i64 - here) as i32;
            match step {
                Step::Mov(dst, imm) => out.push(insn(MOV64_IMM, *dst, 0, 0, *imm)),
                Step::Add(dst, src) => out.push(insn(ADD64_REG, *dst, *src, 0, 0)),
                Step::Load(dst, imm) => {
                    out.extend([insn(LD_IMM64, *dst, 0, 0, *imm), insn(0, 0, 0, 0, *imm)]);
                }
                Step::Helper(id) => out.push(helper(*id)),
                Step::Call(to) => out.push(insn(CALL, 0, PSEUDO_CALL, 0, to_function(to))),
                Step::Loop(to) => out.extend([
                    insn(LD_IMM64, 2, PSEUDO_FUNC, 0, to_function(to)),
                    insn(0, 0, 0, 0, 0),
                    helper(LOOP),
                ]),
                Step::Jump { code, dst, src, imm, to } => {
                    out.push(insn(*code, *dst, *src, to_step(to) as i16, *imm));
                }
                Step::Goto32(to) => out.push(insn(JA32, 0, 0, 0, to_step(to) as i32)),
                Step::Exit => out.push(exit()),
            }
        }
        out.extend([insn(ADD64_REG, 0, 6, 0, 0), exit()]);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn computes_the_same_and_counts(
        functions in prop::collection::vec(prop::collection::vec(step(), 1..40), 1..5),
        seed: u64,
    ) {
        let original = assemble(&functions);
        let (before, nothing) = Machine::run(&original, seed);
        prop_assert_eq!(nothing, 0);
        let watched = original.iter().filter(|i| i.code == CALL && i.src == 0)
            .filter(|i| [130, 131, 198].contains(&i.imm)).count();
        match inject(&original, SLOT).unwrap() {
            None => prop_assert_eq!(watched, 0),
            Some(new) => {
                prop_assert_eq!(new.calls, watched);
                let (after, counted) = Machine::run(&new.insns, seed);
                prop_assert_eq!(counted, before.failures);
                prop_assert_eq!(after, before);
            }
        }
    }

    #[test]
    fn hostile_instructions_end_in_an_answer(
        raw in prop::collection::vec(any::<[u8; 8]>(), 0..200),
        calls in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut insns: Vec<Insn> = raw.iter().map(|b| Insn::from_bytes(*b, false)).collect();
        for call in calls.iter().filter(|_| !raw.is_empty()) {
            insns[call.index(raw.len())] = helper(130);
        }
        if let Ok(Some(new)) = inject(&insns, SLOT) {
            prop_assert!(new.insns.len() > insns.len());
        }
    }
}

fn listing(insns: &[Insn]) -> String {
    let line = |(at, i): (usize, &Insn)| {
        format!("{at:2}: {:02x} r{} r{} off {} imm {}\n", i.code, i.dst, i.src, i.off, i.imm)
    };
    insns.iter().enumerate().map(line).collect()
}

#[test]
fn a_reservation_is_followed_by_its_count() {
    let program = [helper(131), insn(0x15, 0, 0, 1, 0), helper(132), exit()];
    let new = inject(&program, SLOT).unwrap().unwrap();
    insta::assert_snapshot!(listing(&new.insns), @r"
     0: 85 r0 r0 off 0 imm 131
     1: b7 r1 r0 off 0 imm 0
     2: 5d r0 r1 off 4 imm 0
     3: 18 r1 r2 off 0 imm 77
     4: 00 r0 r0 off 0 imm 16
     5: b7 r2 r0 off 0 imm 1
     6: db r1 r2 off 0 imm 0
     7: 15 r0 r0 off 1 imm 0
     8: 85 r0 r0 off 0 imm 132
     9: 95 r0 r0 off 0 imm 0
    ");
}

#[test]
fn a_jump_to_the_instruction_after_the_call_does_not_count() {
    // r0 = 7; goto over the call; call; exit
    let program = [insn(MOV64_IMM, 0, 0, 0, 7), insn(JA, 0, 0, 1, 0), helper(130), exit()];
    let new = inject(&program, SLOT).unwrap().unwrap();
    let (trace, counted) = Machine::run(&new.insns, 1);
    assert_eq!((trace.result, counted), (Some(7), 0));
}

#[test]
fn tables_move_with_their_instructions() {
    let program = [helper(130), exit(), helper(130), exit()];
    let new = inject(&program, SLOT).unwrap().unwrap();
    let record = |insn: u32| [insn.to_ne_bytes(), 9u32.to_ne_bytes()].concat();
    let mut table = [record(0), record(1), record(2), record(3)].concat();
    new.move_info(&mut table, 8).unwrap();
    assert_eq!(table, [record(0), record(6), record(7), record(13)].concat());
    let outside = new.move_info(&mut record(5), 8);
    assert_eq!(outside, Err(LostError::Info { insn: 5 }));
}

#[test]
fn a_program_without_ring_buffer_is_left_alone() {
    assert_eq!(inject(&[helper(25), exit()], SLOT), Ok(None));
    // The second half of a load may look like anything.
    let load = [insn(LD_IMM64, 1, 0, 0, 5), helper(130), exit()];
    assert_eq!(inject(&load, SLOT), Ok(None));
}

#[test]
fn what_cannot_be_mended_is_refused() {
    let mut far = vec![insn(JA, 0, 0, i16::MAX, 0)];
    far.extend(vec![helper(130); 32767]);
    far.push(exit());
    let error = inject(&far, SLOT).unwrap_err();
    insta::assert_snapshot!(error, @"the jump at instruction 0 would have to reach 196602 instructions, more than its 16 bits hold");
    let error = inject(&[helper(130), insn(GOTOX, 1, 0, 0, 0), exit()], SLOT).unwrap_err();
    assert_eq!(error, LostError::Indirect { insn: 1 });
    for out in [insn(JA, 0, 0, 1, 0), insn(JA, 0, 0, -3, 0), insn(CALL, 0, PSEUDO_CALL, 0, 9)] {
        let error = inject(&[helper(130), out, exit()], SLOT).unwrap_err();
        assert_eq!(error, LostError::Outside { insn: 1 });
    }
    assert_eq!(inject(&[], Slot { map_fd: 1, offset: 4 }), Err(LostError::Slot(4)));
    let long = vec![helper(130); 200_000];
    assert_eq!(inject(&long, SLOT), Err(LostError::TooLong(1_200_000)));
}

#[test]
fn gotol_reaches_further() {
    let mut far = vec![insn(JA32, 0, 0, 0, 40_000)];
    far.extend(vec![helper(130); 40_000]);
    far.push(exit());
    let new = inject(&far, SLOT).unwrap().unwrap();
    assert_eq!(new.insns[0].imm, 240_000);
}
