//! How many encode sessions an NVIDIA driver allows.

use common::worker::Gpu;

/// GeForce, TITAN and the small professional cards share one cap per system, which grew with the drivers; larger
/// professional and data-centre GPUs have none.
///
/// NVIDIA publishes the present cap only ("Video Encode and Decode Support Matrix"); since when it holds was found out by
/// people: 3 until R530, 5 from 530.41 (keylase/nvidia-patch pull request 628), 8 from R550 (issue 776), 12 from R590
/// (pull request 1027). Late updates of older branches allow more than is told here, which only costs some parallelism.
fn driver_cap(driver: &str) -> u32 {
    let major: u32 = driver.split('.').next().and_then(|major| major.trim().parse().ok()).unwrap_or(0);
    match major {
        590.. => 12,
        550.. => 8,
        530.. => 5,
        _ => 3,
    }
}

/// Product names whose sessions are capped, by NVIDIA's matrix.
fn is_capped(name: &str) -> bool {
    const SMALL_PROFESSIONAL: [&str; 9] =
        ["P400", "P600", "P620", "P1000", "T400", "T600", "T1000", "K620", "K1200"];
    let mut words = name.split_whitespace();
    words.clone().any(|word| {
        word == "GeForce" || word == "GTX" || word.eq_ignore_ascii_case("titan") || word.starts_with("MX")
    }) || words.any(|word| SMALL_PROFESSIONAL.contains(&word))
}

/// Sets [`Gpu::max_sessions`] of all NVIDIA GPUs of one machine. The cap is the system's, so capped GPUs share it.
pub(super) fn set_max_sessions(gpus: &mut [Gpu]) {
    let capped = gpus.iter().filter(|gpu| is_capped(&gpu.name)).count();
    for gpu in gpus.iter_mut().filter(|gpu| is_capped(&gpu.name)) {
        let share = driver_cap(&gpu.driver) / u32::try_from(capped).unwrap_or(u32::MAX);
        gpu.max_sessions = Some(share.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, driver: &str) -> Gpu {
        Gpu { name: name.to_owned(), driver: driver.to_owned(), ..Gpu::default() }
    }

    fn caps(mut gpus: Vec<Gpu>) -> Vec<Option<u32>> {
        set_max_sessions(&mut gpus);
        gpus.into_iter().map(|gpu| gpu.max_sessions).collect()
    }

    #[test]
    fn the_cap_of_geforce_follows_the_driver() {
        for (driver, cap) in [
            ("470.256.02", 3),
            ("530.41.03", 5),
            ("550.54.14", 8),
            ("580.95.05", 8),
            ("590.44.01", 12),
            ("", 3),
        ] {
            assert_eq!(caps(vec![gpu("NVIDIA GeForce RTX 3080", driver)]), [Some(cap)], "{driver}");
        }
    }

    #[test]
    fn large_professional_and_data_centre_gpus_have_no_cap() {
        for name in
            ["NVIDIA L4", "Tesla T4", "NVIDIA RTX A6000", "Quadro RTX 6000", "NVIDIA A10", "Quadro P2000"]
        {
            assert_eq!(caps(vec![gpu(name, "550.54.14")]), [None], "{name}");
        }
        assert_eq!(caps(vec![gpu("Quadro P620", "550.54.14")]), [Some(8)]);
        assert_eq!(caps(vec![gpu("NVIDIA TITAN RTX", "470.1")]), [Some(3)]);
    }

    #[test]
    fn several_geforces_share_the_systems_cap() {
        let geforce = || gpu("NVIDIA GeForce GTX 1650", "550.54.14");
        assert_eq!(caps(vec![geforce(), gpu("NVIDIA L4", "550.54.14"), geforce()]), [Some(4), None, Some(4)]);
        assert_eq!(caps(vec![gpu("GeForce GTX 1060", "470.1"); 4]), [Some(1); 4]);
    }
}
