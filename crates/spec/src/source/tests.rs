use super::*;

fn mistakes(text: &str) -> String {
    let list = parse(text).expect_err("it should be refused");
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const LEAST: &str = r#"
spec = "1.0"
[package]
name = "acme/exec"
version = "1.0.0"
license = "Apache-2.0"
[object.exec]
sources = ["exec.bpf.c"]
"#;

#[test]
fn the_least_that_is_a_package() {
    let source = parse(LEAST).unwrap();
    assert_eq!(source.object["exec"].arch, [Arch::X86_64]);
    let digests =
        BTreeMap::from([("exec".to_owned(), BTreeMap::from([(Arch::X86_64, Digest::of(b""))]))]);
    let manifest = source.resolve(&digests);
    insta::assert_snapshot!(String::from_utf8(manifest.canonical()).unwrap(), @r#"{"objects":{"exec":{"sha256":{"x86_64":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}},"package":{"license":"Apache-2.0","name":"acme/exec","version":"1.0.0"},"spec":"1.0"}"#);
    assert_eq!(Manifest::parse(&manifest.canonical()).unwrap(), manifest);
}

#[test]
fn the_whole_of_the_standard_reads_resolves_and_comes_back() {
    let source = parse(include_str!("../../../../spec/vectors/files/manifest/whole.toml")).unwrap();
    let manifest = source.resolve(&BTreeMap::new());
    let again = Manifest::parse(&manifest.canonical()).unwrap();
    assert_eq!(again, manifest);
    let json = include_str!("../../../../spec/vectors/files/manifest/whole.json");
    assert_eq!(String::from_utf8(manifest.canonical()).unwrap(), json.trim_end());
}

#[test]
fn every_mistake_is_named_at_once_where_it_stands() {
    let text = r#"
spec = "1.0"
colour = "blue"
[package]
name = "exec"
version = "1"
licence = "Apache-2.0"
[object.exec]
sources = "exec.bpf.c"
[program.on_exec]
functon = "on_exec"
optional = "yes"
[param.limit]
type = "unit"
default = 1.5
[x-mine]
anything = 1
"#;
    insta::assert_snapshot!(mistakes(text), @r#"
    3:1: unknown key 'colour'; known here: spec, package, build, object, program, alternatives, param, map, output, permissions, requirements, health, limits, dependencies, test
    5:8: 'exec' is not a package name: it should be publisher/name
    6:11: '1' is not a version: it should be MAJOR.MINOR.PATCH, as SemVer 2.0 has it
    7:1: unknown key 'licence' in [package]; did you mean 'license'?
    9:11: 'object.exec.sources' should be an array, not a string
    11:1: unknown key 'functon' in [program.on_exec]; did you mean 'function'?
    12:12: 'program.on_exec.optional' should be true or false, not a string
    14:8: 'param.limit.type' is 'unit', it should be one of bool, int, uint, enum, string, duration, size, ip, cidr, mac, device, interface, cgroup, path, pid, function, cpus; did you mean 'uint'?
    15:11: 'param.limit.default' should be a boolean, an integer or a string, not a number with a fraction (write it as a string)
    "#);
}

#[test]
fn names_must_be_there_and_defaults_must_fit() {
    let text = format!(
        "{LEAST}
[program.exec]
function = \"on_exec\"
object = \"exek\"
target = \"fentry/${{param.functon}}\"
requires-param = \"function\"
[alternatives.way]
try = [[\"exec\"], [\"exce\"]]
[param.functions]
type = \"function\"
[param.small]
type = \"uint\"
default = 11
range = [1, 10]
[map.events]
max_entries = \"1 cup\"
fields = {{ a = \"sum\" }}
[param.turned]
type = \"size\"
default = \"2KiB\"
range = [\"4KiB\", \"1KiB\"]
"
    );
    insta::assert_snapshot!(mistakes(&text), @r#"
    12:10: there is no [object.exek]; did you mean 'exec'?
    13:10: there is no [param.functon]; did you mean 'functions'?
    14:18: there is no [param.function]; did you mean 'functions'?
    16:19: there is no [program.exce]; did you mean 'exec'?
    21:11: the default 11 is outside 1 to 10
    23:1: [map.events] says how fields migrate, but not upgrade = "migrate"
    24:15: '1 cup' is no size of a map: a number or a size from 1 to 2^32-1, such as 1024 or 1MiB
    29:9: a range is [lowest, highest]: [1KiB, 4KiB]
    "#);
}

#[test]
fn what_is_not_toml_is_refused_where_it_breaks() {
    insta::assert_snapshot!(mistakes("spec = \n[package"), @"
    1:8: string values must be quoted, expected literal string
    2:9: unclosed table, expected `]`
    ");
}

#[test]
fn a_table_with_a_wrong_name_is_looked_into() {
    let text = r#"
spec = "1.0"
[packag]
name = "exec"
version = "1.0.0"
licence = "Apache-2.0"
[object.exec]
sources = ["exec.bpf.c"]
[programs.exec]
optional = "yes"
[param.limit]
type = "uint"
defalt = 1.5
[[tests]]
run = "true"
expect = { outptu = 5 }
"#;
    insta::assert_snapshot!(mistakes(text), @"
    3:2: unknown key 'packag'; did you mean 'package'?
    4:8: 'exec' is not a package name: it should be publisher/name
    6:1: unknown key 'licence' in [packag]; did you mean 'license'?
    9:1: [programs.exec] has no 'function'
    9:2: unknown key 'programs'; did you mean 'program'?
    10:12: 'programs.exec.optional' should be true or false, not a string
    13:1: unknown key 'defalt' in [param.limit]; did you mean 'default'?
    14:3: unknown key 'tests'; did you mean 'test'?
    16:12: unknown key 'outptu' in [tests[0].expect]; did you mean 'output'?
    ");
}

#[test]
fn a_bracket_that_nothing_closes_is_one_mistake() {
    let text = r#"
spec = "1.0"
[package]
name = "acme/exec"
version = = "1.0.0" = 2
license = Apache
[object.exec]
sources = [
  "exec.bpf.c",
  "other.bpf.c",

[program.exec]  # the comma does not hide it
function = "on_exec"
[alternatives.way]
try = [["exec"], ["exec"]
otherwise = "skip"
[param.n]
type = "uint
[map.events]
fields = { a = "sum"
rename = { b = "c" }
key = """
[not.a.table]
a = 1
"""
[test]
run = [ """
a = [
b = 3""", true
"#;
    insta::assert_snapshot!(mistakes(text), @r#"
    5:11: extra `=`, expected nothing
    6:11: string values must be quoted, expected literal string
    8:11: this array is not closed, expected `]`; put a ] before line 12
    15:7: this array is not closed, expected `]`; put a ] before line 16
    18:13: invalid basic string, expected `"`
    20:10: this inline table is not closed, expected `}`; put a } before line 21
    27:7: this array is not closed, expected `]`
    "#);
    // Its lines look like tables and keys, and are none.
    let fine = "x = [\n[true],\n['a'],\n[\"b\"]\n,\n\"\"\"\n[c]\nd = 1\n\"\"\"\n]\n";
    insta::assert_snapshot!(mistakes(&format!("{fine}y = = 1\n")), @"11:5: extra `=`, expected nothing");
    let many = "x = [\n".repeat(40_000);
    assert_eq!(parse(&many).expect_err("it should be refused").len(), 32);
}

#[test]
fn what_is_there_twice_is_one_mistake() {
    let text = "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\n[package]\nname = \"b\"\n\
                version = \"2\"\n[object.o]\nsources = [\"a.c\"]\nsources = [\"b.c\"]\n";
    insta::assert_snapshot!(mistakes(text), @r"
    5:2: 'package' is there twice
    10:1: 'sources' is there twice
    ");
}

#[test]
fn what_is_nested_too_deep_is_told_where_it_begins() {
    let of = |line: String| mistakes(&format!("spec = \"1.0\"\n{line}\n"));
    let arrays = format!("x = {}{}", "[".repeat(100), "]".repeat(100));
    insta::assert_snapshot!(of(arrays), @"2:85: it is nested deeper than 80 levels");
    let tables = format!("x = {}1{}", "{ a = ".repeat(100), "}".repeat(100));
    insta::assert_snapshot!(of(tables), @"2:485: it is nested deeper than 80 levels");
    let header = format!("[{}]\ny = 1", vec!["a"; 100].join("."));
    insta::assert_snapshot!(of(header), @"2:1: it is nested deeper than 80 levels");
    let mixed = format!("b.{} = {}{}", vec!["a"; 60].join("."), "[".repeat(40), "]".repeat(40));
    insta::assert_snapshot!(of(mixed), @"2:1: it is nested deeper than 80 levels");
}

#[test]
fn paths_stay_in_the_folder_and_large_integers_stay_whole() {
    let escape = LEAST.replace("exec.bpf.c", "../../etc/passwd");
    insta::assert_snapshot!(mistakes(&escape), @"8:12: '../../etc/passwd' should be a path inside the package's folder, without ..");
    let large = format!("{LEAST}[param.mask]\ntype = \"uint\"\ndefault = 9007199254740993\n");
    let default = parse(&large).unwrap().param["mask"].default.clone();
    assert_eq!(default, Some(crate::param::Value::Text("9007199254740993".into())));
}

#[test]
fn later_and_critical_manifests_are_refused() {
    let read =
        |text: &str| Manifest::parse(text.as_bytes()).map(drop).map_err(|error| error.to_string());
    let body = r#""objects":{},"package":{"license":"MIT","name":"a/b","version":"1.0.0"}"#;
    assert_eq!(read(&format!(r#"{{{body},"spec":"1.7","novel":{{}}}}"#)), Ok(()));
    insta::assert_snapshot!(read(&format!(r#"{{{body},"spec":"2.0"}}"#)).unwrap_err(), @"manifest.json is written for version 2.0 of the standard, this program reads up to 1.0");
    insta::assert_snapshot!(read(&format!(r#"{{{body},"spec":"1.1","critical":["novel"]}}"#)).unwrap_err(), @"manifest.json says that the key 'novel' is critical, and this program does not know it");
    assert_eq!(read(&format!(r#"{{{body},"spec":"1.1","critical":["map.*.export"]}}"#)), Ok(()));
    assert!(read(&format!(r#"{{{body},"spec":"1.0","spec":"1.0"}}"#)).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,200}") {
        drop(parse(&text));
        drop(Manifest::parse(text.as_bytes()));
    }
}

#[test]
fn each_of_thousands_of_mistakes_has_its_place() {
    let mut text = LEAST.trim_start().to_owned() + "[build]\n";
    let line = text.lines().count() + 1;
    for number in 0..15_000 {
        text += &format!("'é{number}' = 1\n");
    }
    let list = parse(&text).expect_err("it should be refused");
    let wrong =
        list.iter().zip(line..).find(|(found, line)| (found.line, found.column) != (*line, 1));
    assert_eq!((list.len(), wrong), (15_000, None));
    let text = LEAST.trim_start().to_owned() + "x-k = { a = 'é', b = 1, }\n";
    let list = parse(&text).expect_err("it should be refused");
    insta::assert_snapshot!(list[0], @"8:23: this is not TOML 1.0: no comma may follow the last value of an inline table");
}

#[test]
fn many_names_that_are_nowhere_take_no_longer_than_one_may_wait() {
    let on_cpu = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let list =
        |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
    let programs = list(4500, &|at| format!("z{at} = {{ function = \"a\" }}\n"));
    let members = list(14_000, &|at| format!("\"y{at}\", "));
    let of_few = list(14_000, &|at| format!("\"y{}\", ", at % 10));
    let long = "x".repeat(60);
    let params = list(1400, &|at| format!("p{long}{at} = {{ type = \"int\" }}\n"));
    let need = |at| format!("z{at} = {{ function = \"a\", requires-param = \"q{at}{long}\" }}\n");
    let tables = [
        format!("[program]\n{programs}[alternatives.q]\ntry = [[{members}]]\n"),
        format!("[program]\n{programs}[alternatives.q]\ntry = [[{of_few}]]\n"),
        format!("[param]\n{params}[program]\n{}", list(1000, &need)),
    ];
    // Code that is not optimized may take ten times as long.
    let most = if cfg!(debug_assertions) { 10_000_000_000 } else { 1_000_000_000 };
    for tables in tables {
        let before = on_cpu();
        let list = parse(&format!("{LEAST}{tables}")).expect_err("it should be refused");
        let took = on_cpu() - before;
        assert!(list.len() >= 1000 && took < most, "{} mistakes took {took} ns", list.len());
        assert!(list.iter().any(|mistake| mistake.hint.is_some()), "the first have a hint");
    }
}

#[test]
fn names_that_are_nowhere_are_told_with_what_is_wrong_elsewhere_and_nothing_that_follows() {
    let text = r#"
spec = "1.0"
[package]
name = "exec"
version = "1.0.0"
license = "MIT"
[object.exec]
sources = "exec.bpf.c"
[program.a]
function = "a"
object = "exec"
requires-param = "limit"
[program.b]
functon = "b"
[program.c]
function = "c"
object = "exc"
target = "kprobe/${param.nope}"
[alternatives.one]
try = [["b"], ["d"], ["c"]]
[params.limit]
type = "uint"
[param.both]
type = "int"
rodata = "x"
data = "x"
range = [5, 2]
"#;
    let found = parse(text).expect_err("it should be refused");
    let told = found.iter().map(|one| format!("{}:{} {}", one.line, one.column, one.code.as_str()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "4:8 manifest.value",
            "8:11 manifest.type",
            "14:1 manifest.unknown-key",
            "17:10 manifest.reference",
            "18:10 manifest.reference",
            "20:16 manifest.reference",
            "21:2 manifest.unknown-key",
            "23:1 manifest.conflict",
            "27:9 manifest.value",
        ]
    );
}

#[test]
fn without_an_object_one_mistake_is_told() {
    let text = LEAST.replace("[object.exec]\nsources = [\"exec.bpf.c\"]\n", "");
    assert_eq!(parse(&text).expect_err("it should be refused").len(), 1);
}

#[test]
fn what_means_nothing_where_it_stands_is_told_with_the_rest() {
    let text = format!(
        "{LEAST}arch = [\"x86_64\"]
[program.drop]
function = \"drop\"
target = \"xdp/eth0\"
pid = \"7\"
[program.main]
function = \"main\"
target = \"uprobe//bin/a:main\"
exclusive = true
[param.n]
type = \"uint\"
unit = \"ms\"
[map.m]
key = \"ip\"
[output.c]
kind = \"counter\"
map = \"m\"
struct = \"s\"
when = {{ field = \"f\", equals = 1 }}
buckets = {{ scale = \"log2\" }}
fields.f = {{ format = \"kstack\", process = \"p\" }}
[output.e]
kind = \"event\"
map = \"m\"
value = \"v\"
labels = {{ l = {{ key = \"k\" }} }}
[alternatives.a]
try = [[\"drop\"], []]
[health]
conditions = [\"runs(dropp) > 0\", \"lost(c) < 1%\", \"attached(all)\"]
"
    );
    insta::assert_snapshot!(mistakes(&text), @r#"
    13:7: 'pid' is for uprobes, USDT and perf events alone, and [program.drop] is nothing of that kind: leave it out
    17:13: 'exclusive' is for xdp alone, and [program.main] is nothing of that kind: leave it out
    20:8: 'unit' is for durations alone, and [param.n] is nothing of that kind: leave it out
    22:7: 'key' is for maps of role = "config" alone, and [map.m] is nothing of that kind: leave it out
    26:10: 'struct' is for events alone, and [output.c] is nothing of that kind: leave it out
    27:8: 'when' is for events alone, and [output.c] is nothing of that kind: leave it out
    28:11: 'buckets' is for histograms alone, and [output.c] is nothing of that kind: leave it out
    29:43: 'process' is for fields of the format ustack alone, and [output.c.fields.f] is nothing of that kind: leave it out
    33:9: 'value' is for what shows a map alone, and [output.e] is nothing of that kind: leave it out
    34:10: 'labels' is for what shows a map alone, and [output.e] is nothing of that kind: leave it out
    36:18: the member 2 of 'alternatives.a.try' is empty, and would always work: where the service may run without, write otherwise = "skip"
    38:15: there is no [program.dropp], and no [alternatives.dropp]; did you mean 'drop'?
    38:34: there is no [output.c] of the kind event: it is of the kind counter
    "#);
    let worse = text.replace("\"xdp/eth0\"", "\"xdp//\"").replace("> 0", "?? 0");
    let worse = mistakes(&worse);
    let told: Vec<&str> = worse.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let (first, last) = ("12:10", "38:15");
    assert_eq!((told.len(), told[0], told[told.len() - 1]), (12, first, last), "{worse}");
}

/// Names in another order than that of the text.
#[test]
fn the_first_of_many_wrong_names_have_hints() {
    let params: String =
        (0..1500).map(|at| format!("[param.p{at:039}]\ntype = \"uint\"\n")).collect();
    let programs = (0..1500)
        .rev()
        .map(|at| format!("[program.q{at}]\nfunction = \"f\"\nrequires-param = \"r{at:039}\"\n"));
    let text = format!("{LEAST}{params}{}", programs.collect::<String>());
    let list = parse(&text).unwrap_err();
    let hinted: Vec<bool> = list.iter().map(|one| one.hint.is_some()).collect();
    let first = hinted.iter().take_while(|is_hinted| **is_hinted).count();
    assert!(list.len() == 1500 && first > 0, "{} mistakes, {first} with hints", list.len());
    assert!(!hinted[first..].contains(&true), "all behind the {first} first have none");
}
