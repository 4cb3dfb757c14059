//! The program itself: what it was built with, and whether this CPU runs it.

use super::{Finding, Level, Machine};

/// How this program was built.
pub struct Build {
    /// DPDK's version; `None` where it was left out.
    pub dpdk: Option<&'static str>,
    /// The drivers that are linked, as in "net_ixgbe"; empty where DPDK finds them when it starts.
    pub drivers: Vec<&'static str>,
    /// Whether it is for CPUs of the level x86-64-v3.
    pub for_v3: bool,
    /// The program's own file.
    pub file: String,
}

impl Build {
    /// This program's.
    pub fn this() -> Self {
        let file = std::env::current_exe().map(|path| path.display().to_string());
        Self {
            dpdk: Some(env!("GUIDEWAY_DPDK_VERSION")).filter(|_| cfg!(feature = "dpdk")),
            drivers: env!("GUIDEWAY_DPDK_DRIVERS").split_whitespace().collect(),
            for_v3: cfg!(target_feature = "avx2"),
            file: file.unwrap_or_else(|_| "guideway".into()),
        }
    }

    /// Whether a driver is there, as far as can be known.
    pub(super) fn has(&self, driver: &str) -> bool {
        self.drivers.is_empty() || self.drivers.contains(&driver)
    }
}

/// What the level x86-64-v3 adds, as /proc/cpuinfo names it.
const V3: [&str; 8] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"];

/// Whether this CPU lacks what the program was built for. The standard library's own test takes that for granted.
pub fn lacks_cpu_feature() -> bool {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const AVX2: u32 = 1 << 5;
        const BMI2: u32 = 1 << 8;
        __cpuid(0).eax < 7 || __cpuid_count(7, 0).ebx & (AVX2 | BMI2) != AVX2 | BMI2
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    false
}

pub(super) fn check(machine: &Machine, build: &Build) -> Vec<Finding> {
    let mut all = vec![dpdk(build)];
    all.extend(cpu(machine, build));
    all
}

fn dpdk(build: &Build) -> Finding {
    let Some(version) = build.dpdk else {
        let found = "this program was built without DPDK";
        let finding =
            Finding::new("dpdk", Level::Error, found, "it checks, explains and replays, and has no ports");
        return finding.advise("build it with DPDK: apt-get install libdpdk-dev, then cargo build --release");
    };
    if build.drivers.is_empty() {
        return Finding::ok("dpdk", format!("DPDK {version}, shared; drivers are found when it starts"));
    }
    let drivers = build.drivers.iter().filter_map(|driver| driver.strip_prefix("net_"));
    let names = drivers.collect::<Vec<_>>().join(", ");
    Finding::ok("dpdk", format!("DPDK {version} is linked, with drivers for {names}"))
}

fn cpu(machine: &Machine, build: &Build) -> Option<Finding> {
    let text = machine.read("/proc/cpuinfo")?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'))?.1;
    let lacks: Vec<&str> =
        V3.into_iter().filter(|wanted| !flags.split_whitespace().any(|flag| flag == *wanted)).collect();
    let lacks = lacks.join(", ");
    Some(match (build.for_v3, lacks.is_empty()) {
        (true, true) => Finding::ok("cpu", "the CPU has all that this program was built for (AVX2)"),
        (false, true) => {
            let why = "built for CPUs with AVX2 (the default) the path takes fewer instructions";
            let finding = Finding::new("cpu", Level::Note, "this program was built for any x86-64 CPU", why);
            finding.advise("build it without RUSTFLAGS in the environment")
        }
        (true, false) => {
            let why =
                "this program was built for CPUs that have it, and will end with \"illegal instruction\"";
            let finding = Finding::new("cpu", Level::Error, format!("the CPU lacks {lacks}"), why);
            finding.advise("build it for any CPU: RUSTFLAGS='' cargo build --release")
        }
        (false, false) => {
            Finding::ok("cpu", format!("the CPU lacks {lacks}, and this program was built to do without"))
        }
    })
}
