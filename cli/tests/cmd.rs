//! Commands and their failures, as people see them.

#[test]
fn commands() {
    trycmd::TestCases::new().case("tests/cmd/*.toml");
}
