//! Input that no one writes by hand: an error at worst, never a panic.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn load_path(path: PathBuf) -> Result<Loaded, Findings> {
    super::super::load(&ConfigFlags { config: Some(path), ..Default::default() })
}

fn scratch_file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("guideway-config-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

fn problem_of(path: PathBuf) -> (Place, Problem) {
    let mut findings = load_path(path).unwrap_err();
    let finding = findings.list.remove(0);
    (finding.place, finding.problem)
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    assert_eq!(problem_of(std::env::temp_dir()), (Place::Whole, FileProblem::NotAFile.into()));
    assert_eq!(problem_of("/dev/zero".into()), (Place::Whole, FileProblem::NotAFile.into()));
    let (place, problem) = problem_of("/nonexistent/guideway.toml".into());
    assert!(place == Place::Whole && matches!(problem, Problem::File(FileProblem::Unreadable(_))));
    let path = scratch_file("latin1", b"# 1\n# 2\nname = \"caf\xe9\"\n");
    assert_eq!(problem_of(path.clone()), (Place::Line(3), FileProblem::NotUtf8.into()));
    std::fs::write(&path, vec![b'\n'; 17 << 20]).unwrap();
    assert_eq!(problem_of(path.clone()), (Place::Whole, FileProblem::TooLarge { max: 16 << 20 }.into()));
    std::fs::write(&path, SOUND).unwrap();
    assert!(load_path(path.clone()).is_ok());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_missing_file_does_not_hide_the_mistakes_of_flags() {
    let mut words = flags(&["--workers", "x"]);
    words.config = Some("/nonexistent/guideway.toml".into());
    let all = super::super::load(&words).unwrap_err();
    assert_eq!(
        all.list.iter().map(|finding| finding.place).collect::<Vec<_>>(),
        [Place::Whole, Place::Flag("--workers")]
    );
}

#[test]
fn deep_wide_and_odd_texts_are_errors() {
    let deep = |open: &str, count| format!("a = {}", open.repeat(count));
    let texts = [
        deep("[", 100_000),
        deep("{a=", 100_000),
        format!("[{}a]", "a.".repeat(100_000)),
        "[[".repeat(100_000),
        "a\0b = 1\n\0\0\0".to_owned(),
        "pool = \"\0\"".to_owned(),
        "x\n".repeat(200_000),
        "[[pool]]\n".repeat(100_000),
        format!("{} = 1", "k".repeat(1 << 20)),
        format!("[[rule]]\nname = \"{}\"", "\u{1f980}".repeat(100_000)),
        "[dataplane]\nmanagement_cpu = -170141183460469231731687303715884105729".to_owned(),
        "[dataplane]\nflows_per_worker = 0xffffffffffffffffffffffffffffffffffff".to_owned(),
    ];
    for text in texts {
        let findings = load(&text, &[]).unwrap_err();
        assert!(findings.list.len() <= FINDINGS_MAX);
        assert!(findings.list.iter().all(|finding| finding.to_string().len() < 1000));
    }
}

#[test]
fn a_name_of_the_file_cannot_write_on_the_terminal() {
    let all = load("[[pool]]\nname = \"\\u001b[2J\"\nbackends = []", &[]).unwrap_err().to_string();
    assert!(!all.contains('\u{1b}'), "{all:?}");
}

const SAMPLES: [&str; 3] = [
    SOUND,
    include_str!("../../../dpdk-config/two-arm.toml"),
    include_str!("../../../dpdk-config/one-arm.toml"),
];

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused(text in "\\PC*") {
        let _ = load(&text, &[]);
    }

    #[test]
    fn any_bytes_are_loaded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(&String::from_utf8_lossy(&bytes), &[]);
    }

    #[test]
    fn any_damage_to_a_sound_file_is_loaded_or_refused(
        sample in 0..SAMPLES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, "[\\[\\]{}=\",.\\n0-9a-z\\x00-\\x20]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = SAMPLES[sample].chars().collect();
        for (at, cut, put) in damage {
            let from = at.index(text.len() + 1);
            let to = (from + cut).min(text.len());
            text.splice(from..to, put.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(findings) = load(&text, &[]) {
            prop_assert!(!findings.list.is_empty());
            let lines = u32::try_from(text.lines().count()).unwrap() + 1;
            let is_inside = |place| !matches!(place, Place::Line(line) if line == 0 || line > lines);
            prop_assert!(findings.list.iter().all(|finding| is_inside(finding.place)));
        }
    }

    #[test]
    fn any_flags_are_loaded_or_refused(values in prop::collection::vec("\\PC{0,12}|[a-z]{1,3}=[0-9./:,=a-z-]{0,30}", 36)) {
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let words = ConfigFlags {
            config: None,
            port: vec![next(), "web=x".to_owned()],
            address: vec![next(), format!("web={}", next())],
            gateway: vec![format!("web={}", next())],
            gateway6: vec![format!("web={}", next())],
            vlan: vec![format!("web={}", next())],
            route: vec![next(), format!("10.9.0.0/16={}", next())],
            mac: vec![format!("web={}", next())],
            mtu: vec![format!("web={}", next())],
            neighbour: vec![next()],
            frontend: vec![next(), "web=203.0.113.1:1/tcp".to_owned()],
            backend: vec![next(), format!("web={}", next()), format!("web=10.0.0.1:{}", next())],
            pool: vec![next()],
            forward: vec![next(), format!("web={}", next()), format!("web=gue,{}", next())],
            tcp_reset: vec![format!("web={}", next())],
            hairpin: vec![format!("web={}", next())],
            icmp_echo: vec![format!("web={}", next())],
            mss_clamp: vec![format!("web={}", next())],
            quic: vec![next(), format!("web={}", next()), format!("web=quic-lb,{}", next())],
            distribution: vec![next()],
            idle_timeout: vec![format!("web={}", next())],
            probe: vec![next(), format!("web={}", next()), format!("web=http:{}", next())],
            no_healthy_backends: vec![next()],
            workers: Some(next()),
            management_cpu: Some(next()),
            flows_per_worker: Some(next()),
            frames: Some(next()),
            idle: Some(next()),
            hash_key: None,
            control_socket: None,
            control_socket_group: Some(next()),
            control_listen: Some(next()),
            control_listen_anywhere: false,
            control_token_file: Some(next()),
            metrics: Some(next()),
            state_directory: None,
        };
        let _ = load_text("", "", &words);
    }
}
