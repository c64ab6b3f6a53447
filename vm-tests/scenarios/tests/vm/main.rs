//! Every scenario that boots machines; `cargo test -p ccnode-vm-scenarios -- t17` runs those of one row.

mod attacks;
mod bad_input;
mod confidential;
mod crash;
mod init_data;
mod layouts;
mod life;
mod recovery;
mod service_unit;
mod stock;
mod tags;
mod tool;

use ccnode_vm_harness::scenario;
use std::process::ExitCode;

fn main() -> ExitCode {
    ccnode_vm_harness::run(&[
        scenario!("prediction_equals_the_tpm", life::prediction_equals_the_tpm),
        scenario!("second_boot_opens_the_same_root", life::second_boot_opens_the_same_root),
        scenario!("power_cut_mid_format", life::power_cut_mid_format),
        scenario!("power_cut_mid_copy", life::power_cut_mid_copy),
        scenario!("power_cut_before_ready", life::power_cut_before_ready),
        scenario!("power_cut_anywhere_in_a_first_boot", crash::power_cut_anywhere_in_a_first_boot),
        scenario!("service_killed_after_grants", life::service_killed_after_grants),
        scenario!("refusal_reaches_the_service", life::refusal_reaches_the_service),
        scenario!("hygiene_after_hand_over", life::hygiene_after_hand_over),
        scenario!("trust_service_under_systemd", service_unit::trust_service_under_systemd),
        scenario!("t01_patched_primary_header", attacks::t01_patched_primary_header),
        scenario!("t01_patched_secondary_header", attacks::t01_patched_secondary_header),
        scenario!("t02_second_disk_with_the_same_labels", attacks::t02_second_disk_with_the_same_labels),
        scenario!("t02_plain_ext4_in_place_of_luks", attacks::t02_plain_ext4_in_place_of_luks),
        scenario!("t03_formatted_by_somebody_else", attacks::t03_formatted_by_somebody_else),
        scenario!("t05_old_header_restored", attacks::t05_old_header_restored),
        scenario!("t13_no_shell_ever", attacks::t13_no_shell_ever),
        scenario!("t13_corrupt_source", attacks::t13_corrupt_source),
        scenario!("t14_init_in_the_uki", attacks::t14_init_in_the_uki),
        scenario!("t14_credential_beside_the_uki", attacks::t14_credential_beside_the_uki),
        scenario!("t14_unmeasured_channels", attacks::t14_unmeasured_channels),
        scenario!("t16_one_label_twice", attacks::t16_one_label_twice),
        scenario!("t17_fetch_again_after_boot", attacks::t17_fetch_again_after_boot),
        scenario!("t17_a_refusal_closes_pcr_15", attacks::t17_a_refusal_closes_pcr_15),
        scenario!("t21_secrets_are_nowhere", attacks::t21_secrets_are_nowhere),
        scenario!("t27_new_uki_over_old_root", attacks::t27_new_uki_over_old_root),
        scenario!("t28_clock_behind", attacks::t28_clock_behind),
        scenario!("t28_clock_far_ahead", attacks::t28_clock_far_ahead),
        scenario!("ephemeral_root_is_gone_with_its_boot", layouts::ephemeral_root_is_gone_with_its_boot),
        scenario!("t05_flipped_ciphertext_is_an_io_error", tags::t05_flipped_ciphertext_is_an_io_error),
        scenario!("t05_flipped_ciphertext_under_aes_gcm", tags::t05_flipped_ciphertext_under_aes_gcm),
        scenario!("t05_flipped_ciphertext_under_aegis128", tags::t05_flipped_ciphertext_under_aegis128),
        scenario!("verity_root_keeps_its_state", layouts::verity_root_keeps_its_state),
        scenario!("custodians_open_the_disk_of_a_node", recovery::custodians_open_the_disk_of_a_node),
        scenario!("snp_tee_bound_vtpm_joins", confidential::snp_tee_bound_vtpm_joins),
        scenario!("t17_snp_root_of_one_boot", confidential::t17_snp_root_of_one_boot),
        scenario!("t06_snp_another_launch", confidential::t06_snp_another_launch),
        scenario!("t12_snp_no_keeper_of_vtpms", confidential::t12_snp_no_keeper_of_vtpms),
        scenario!("t06_snp_svsm_of_another_vtpm", confidential::t06_snp_svsm_of_another_vtpm),
        scenario!("no_tpm", bad_input::no_tpm),
        scenario!("tpm_without_certificate", bad_input::tpm_without_certificate),
        scenario!("tpm_of_another_maker", bad_input::tpm_of_another_maker),
        scenario!("no_network", bad_input::no_network),
        scenario!("no_lease", bad_input::no_lease),
        scenario!("wrong_ca", bad_input::wrong_ca),
        scenario!("no_root_partition", bad_input::no_root_partition),
        scenario!("disk_write_error", bad_input::disk_write_error),
        scenario!("init_data_is_followed_where_allowed", init_data::init_data_is_followed_where_allowed),
        scenario!("stock_root_opens", stock::stock_root_opens),
        scenario!("stock_mode_alone_is_refused", stock::stock_mode_alone_is_refused),
        scenario!("t07_stock_token_for_another_resource", stock::t07_stock_token_for_another_resource),
        scenario!("tool_errors_are_json", tool::tool_errors_are_json),
        scenario!("tool_tells_tuple_kinds_apart", tool::tool_tells_tuple_kinds_apart),
        scenario!("tool_edits_pools_and_knows_names", tool::tool_edits_pools_and_knows_names),
    ])
}
