//! Codes tell causes apart.

use super::*;

#[test]
fn codes_tell_a_wrong_manifest_from_a_value_and_from_a_kernel() {
    let (program, why) = (|| "on_exec".to_owned(), || "no such function".to_owned());
    let errors = [
        ChooseError::NoMember { group: "hook".to_owned(), program: program() },
        ChooseError::Empty { program: program(), param: "if".to_owned(), target: why() },
        ChooseError::NoAlternative { group: "hook".to_owned(), why: why() },
        ChooseError::Refused { program: program(), why: why() },
        ChooseError::NothingAttached { why: why() },
    ];
    let codes = errors.map(|error| RuntimeError::from(error).code());
    let expected = ["manifest", "parameter", "no-alternative", "kernel-refused", "kernel-refused"];
    assert_eq!(codes, expected);
}
