"""What the doctor says of machines that were recorded: each gets the advice that helps it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support_doctor import RECORDED, finding, findings, recorded

from illama.doctor.facts import Device, File, Place
from illama.doctor.finding import FAILURE, OK, WARNING, worst
from illama.doctor.judge import judge

GB = 1000**3


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_machine_has_exactly_the_facts_that_are_read_now(path):
    assert json.loads(json.dumps(dataclasses.asdict(recorded(path.stem)))) == json.loads(path.read_text())


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_whatever_is_not_ok_says_what_to_do(path):
    for each in judge(recorded(path.stem)):
        assert each.level == OK or each.do, each
        assert "\n" not in each.says + each.do


@pytest.mark.parametrize("name", ["arc-i915", "arc-xe", "npu-laptop", "no-gpu", "wsl2-gpu"])
def test_a_machine_that_is_right_has_nothing_to_do(name):
    assert [each for each in judge(recorded(name)) if each.level != OK] == []


def test_an_arc_card_is_named_with_memory_driver_and_kernel_module():
    i915, xe = finding("arc-i915", "GPU").says, finding("arc-xe", "GPU").says
    assert "A770" in i915
    assert "16.2 GB" in i915
    assert "24.39.31294" in i915
    assert "i915 of Linux 6.8.0-48-generic" in i915
    assert "B580" in xe
    assert "xe of Linux 6.14.0-27-generic" in xe
    assert finding("arc-xe", "device").says == "models run on GPU (the default)."


@pytest.mark.parametrize(
    ("name", "says", "do"),
    [
        ("no-render-group", "group render, mode 0660", "sudo usermod -aG render $USER"),
        ("render-group-before-login", "not logged in since", "Log out"),
        ("no-opencl-runtime", "Intel's driver for it is not", "sudo apt install intel-opencl-icd"),
        ("driver-too-old", "23.43.27642.40-1ubuntu3 is too old", "newer intel-opencl-icd"),
        ("kernel-too-old", "no driver of the kernel (5.15.0-125-generic)", "6.2 or newer"),
        ("gpu-not-listed", "OpenVINO does not list it", "clinfo -l"),
        ("container-without-dri", "/dev/dri/renderD128 is not here", "--device /dev/dri"),
    ],
)
def test_a_card_that_cannot_be_used_is_a_failure_with_the_reason_and_the_cure(name, says, do):
    found = finding(name, "GPU")
    assert found.level == FAILURE
    assert says in found.says
    assert do in found.do
    assert "CPU" in finding(name, "device").says


def test_who_waits_for_a_login_is_not_told_to_join_the_group_again():
    assert "usermod" not in finding("render-group-before-login", "GPU").do


def test_a_missing_opencl_loader_is_installed_together_with_the_driver():
    found = finding("no-opencl-runtime", "GPU", graphics={"opencl_loader": "", "opencl_icds": {}})
    assert "ocl-icd-libopencl1 intel-opencl-icd" in found.do


def test_a_registered_driver_whose_file_is_gone_is_reinstalled():
    found = finding("gpu-not-listed", "GPU", graphics={"opencl_icds": {"/x/libigdrcl.so": "intel.icd names no file"}})
    assert "broken" in found.says
    assert "--reinstall" in found.do


def test_an_integrated_gpu_that_cannot_be_used_is_a_warning_as_models_run_on_the_cpu():
    laptop = recorded("npu-laptop")
    found = findings("npu-laptop", engine={"devices": laptop.engine.devices[:1]}, graphics={"npus": ()})
    assert found["GPU"][0].level == WARNING
    assert "intel-opencl-icd-legacy1" in found["GPU"][0].do


def test_of_two_cards_only_the_one_that_cannot_be_opened_is_complained_of():
    arc = recorded("arc-i915")
    (card,), (node,) = arc.graphics.gpus, arc.graphics.nodes
    other = dataclasses.replace(card, pdev="0000:07:00.0", node="renderD129")
    barred = dataclasses.replace(node, path="/dev/dri/renderD129", usable=False, group="keymasters")
    found = findings("arc-i915", graphics={"gpus": (card, other), "nodes": (node, barred)})["GPU"]
    assert [each.level for each in found] == [OK, FAILURE]
    assert "0000:07:00.0" in found[1].says
    assert "usermod -aG keymasters" in found[1].do


def test_a_card_given_to_a_virtual_machine_is_no_riddle():
    (card,) = recorded("gpu-not-listed").graphics.gpus
    found = finding(
        "gpu-not-listed", "GPU", graphics={"gpus": (dataclasses.replace(card, driver="vfio-pci", node=""),)}
    )
    assert "virtual machine" in found.says


def test_wsl_needs_the_device_of_windows_and_opencl_in_linux():
    assert "/dev/dxg" in finding("wsl2-no-gpu", "GPU").says
    assert "wsl --update" in finding("wsl2-no-gpu", "GPU").do
    assert "ocl-icd-libopencl1 intel-opencl-icd" in finding("wsl2-no-opencl", "GPU").do
    assert worst(judge(recorded("wsl2-no-gpu"))) == WARNING


def test_wsl_with_opencl_and_no_gpu_listed_looks_to_windows():
    machine = recorded("wsl2-no-opencl")
    found = finding("wsl2-gpu", "GPU", engine={"devices": machine.engine.devices})
    assert "driver in Windows" in found.do


def test_an_npu_without_its_level_zero_driver_names_the_packages():
    (found,) = findings("npu-laptop-bare")["NPU"]
    assert found.level == WARNING
    assert "libze_intel_npu.so.1" in found.says
    assert "intel-driver-compiler-npu" in found.do


def test_an_npu_that_works_is_listed():
    assert "Intel(R) AI Boost" in finding("npu-laptop", "NPU").says


def test_a_device_that_was_asked_for_and_is_not_there_is_a_failure_that_lists_those_that_are():
    found = finding("gpu-not-listed", "device")
    assert found.level == FAILURE
    assert "This machine has: CPU." in found.says
    assert finding("arc-i915", "device", choices={"device": "GPU.1", "device_set": True}).level == FAILURE


def test_openvino_that_cannot_be_asked_is_the_one_failure_and_nothing_is_guessed_about_gpus():
    found = findings("gpu-not-listed", engine={"devices": (), "error": "OpenVINO cannot be asked: no module"})
    assert found["OpenVINO"][0].level == FAILURE
    assert "GPU" not in found
    assert "device" not in found


def test_an_engines_interpreter_that_does_not_start_is_the_setting_to_mend():
    broken = {"devices": (), "error": "/gone/python cannot be started: No such file or directory"}
    chosen = {"set": {"ILLAMA_ENGINE_PYTHON": "/gone/python"}}
    found = finding("no-gpu", "OpenVINO", engine=broken, choices=chosen)
    assert found.says.endswith("directory.")
    assert found.do.startswith("Set ILLAMA_ENGINE_PYTHON")


def test_packages_of_openvino_that_do_not_belong_together_are_a_failure():
    mixed = {"openvino": "2026.4.1", "openvino-genai": "2026.3.0.0", "openvino-tokenizers": "2026.4.1.0"}
    assert "2026.3.0.0" in finding("no-gpu", "OpenVINO", engine={"packages": mixed}).says


def test_a_typo_in_a_variable_gets_the_nearest_name():
    found = finding("no-gpu", "settings", choices={"unknown": {"ILLAMA_DEVCE": "ILLAMA_DEVICE"}})
    assert found.level == WARNING
    assert "ILLAMA_DEVCE" in found.says
    assert found.do == "Is ILLAMA_DEVICE meant?"


@pytest.mark.parametrize(("free", "level"), [(400 * GB, OK), (5 * GB, WARNING), (GB // 2, FAILURE)])
def test_a_disk_is_judged_by_what_a_model_takes(free, level):
    place = Place("models", "/home/ada/models", exists=True, writable=True, free=free, total=500 * GB)
    assert finding("no-gpu", "models folder", places=(place,)).level == level


def test_a_folder_that_cannot_be_written_is_a_failure():
    place = Place("cache", "/opt/illama/cache", exists=True, writable=False)
    assert finding("no-gpu", "cache folder", places=(place,)).level == FAILURE


@pytest.mark.parametrize(
    ("file", "level"),
    [
        (File("/x/key", "0640"), FAILURE),
        (File("/x/key", "0600", own=False), FAILURE),
        (File("/x/run", "0755", folder=True), WARNING),
        (File("/x/run", "0777", folder=True), FAILURE),
        (File("/x/run", "0700", folder=True), OK),
        (File("/x/key"), OK),
    ],
)
def test_what_others_may_read_is_told_with_the_command_that_mends_it(file, level):
    found = finding("no-gpu", "key and state", private=(file,))
    assert found.level == level
    assert level == OK or not file.own or "`chmod " in found.do


def test_a_host_of_another_version_or_protocol_is_told():
    running = {"url": "http://127.0.0.1:11434", "pid": 7, "answers": True, "version": "0.1.0", "protocol": 1}
    assert finding("no-gpu", "host", host=running).level == OK
    assert finding("no-gpu", "host", host={**running, "version": "0.0.9"}).level == WARNING
    assert finding("no-gpu", "host", host={**running, "protocol": 2}).level == FAILURE
    assert finding("no-gpu", "host", host={**running, "answers": False, "wrong": "it does not answer"}).level == FAILURE


def test_jupyter_without_the_extension_or_with_it_disabled_is_told():
    assert "illama_server" in finding("no-gpu", "Jupyter", jupyter={"enabled": None, "file": ""}).do
    assert "/etc/x.json" in finding("no-gpu", "Jupyter", jupyter={"enabled": False, "file": "/etc/x.json"}).says
    assert "tile" in finding("no-gpu", "Jupyter", jupyter={"proxy": ""}).says


def test_a_hub_out_of_reach_is_a_warning_and_a_bad_token_a_failure():
    assert finding("no-gpu", "hub", hub={"error": "no answer within 2.5 s"}).level == WARNING
    assert finding("no-gpu", "hub", hub={"login": "bad"}).level == FAILURE
    assert "good" in finding("no-gpu", "hub", hub={"login": "good"}).says


def test_conflicts_are_told_and_a_flood_of_them_is_counted():
    few = findings("no-gpu", python={"conflicts": ("a needs b, which is not installed",)})["packages"]
    many = findings("no-gpu", python={"conflicts": tuple(f"a needs b{n}" for n in range(30))})["packages"]
    assert few[0].says == "a needs b, which is not installed."
    assert len(many) == 6
    assert "25 more" in many[-1].says


def test_two_gpus_are_both_named_where_only_openvino_knows_them():
    two = (Device("CPU", "c"), Device("GPU.0", "first", 8 * GB), Device("GPU.1", "second", 8 * GB))
    assert [each.says for each in findings("no-gpu", engine={"devices": two})["GPU"]] == [
        "GPU.0 is first, 8.0 GB.",
        "GPU.1 is second, 8.0 GB.",
    ]
