"""Headers of NRRD and MetaImage without spacing or orientation are refused; ITK would assume defaults."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name

from i2net_bundle.checks.scans import load_volume, load_volume_label, load_volume_pair
from i2net_bundle.checks.verified import Verdicts
from i2net_bundle.io.findings import DataError
from i2net_bundle.io.itk import read_itk
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.io.volumes import content_sha256
from tests.checks.ct_files import AFFINE, hu_volume, label_volume, save
from tests.io.itk_files import FAULTS, header_file
from tests.io.volume_files import converted


@pytest.mark.parametrize(("suffix", "replacements", "rule", "said"), FAULTS.values(), ids=FAULTS)
def test_a_header_that_does_not_place_the_volume_is_refused(
    suffix: str, replacements: list[tuple[str, str]], rule: str, said: str, tmp_path: Path
) -> None:
    path = header_file(tmp_path, suffix, *replacements)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        load_volume(path, VolumeOptions())
    (found,) = caught.value.findings
    assert (found.rule, found.file) == (rule, str(path))
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("space", "directions"),
    [
        ("left-posterior-superior", "(2,0,0) (0,2,0) (0,0,3)"),
        ("LPS", "(2,0,0) (0,2,0) (0,0,3)"),
        ("right-anterior-superior", "(-2,0,0) (0,-2,0) (0,0,3)"),
        ("left-anterior-superior", "(2,0,0) (0,-2,0) (0,0,3)"),
    ],
)
def test_directions_apply_in_the_space_that_nrrd_names(space: str, directions: str, tmp_path: Path) -> None:
    path = header_file(tmp_path, ".nhdr", ("left-posterior-superior", space), (r"(?<=directions: ).*", directions))
    image, findings = load_volume(path, VolumeOptions())
    assert findings == []
    np.testing.assert_allclose(image.affine[:3, :3], AFFINE[:3, :3], atol=1e-6)


def test_a_sheared_header_is_kept_with_a_warning(tmp_path: Path) -> None:
    path = header_file(tmp_path, ".nhdr", (r"(?<=directions: ).*", "(2,0,0) (0.6,2,0) (0,0,3)"))
    image, (found,) = load_volume(path, VolumeOptions())
    assert (found.rule, found.severity) == ("shear", "warning")
    np.testing.assert_allclose(image.affine[:3, :3], [[-2, -0.6, 0], [0, -2, 0], [0, 0, 3]], atol=1e-6)


def test_voxels_that_no_ct_has_are_a_warning(tmp_path: Path) -> None:
    path = header_file(tmp_path, ".mhd", (r"^ElementSpacing.*", "ElementSpacing = 2000 2000 3000"))
    (found,) = load_volume(path, VolumeOptions())[1]
    assert found.problem == "has voxels of 2000 x 2000 x 3000 mm"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_was_cut_off_is_refused(suffix: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.ReadImage(save(tmp_path / "ct.nii.gz", hu_volume())), str(path), useCompression=compressed)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=rf"ct\{suffix}: is truncated or damaged: its voxels cannot be read"):
        load_volume(path, VolumeOptions())


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nhdr", ".mhd"])
def test_compressed_voxels_that_do_not_match_their_checksum_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.ReadImage(save(tmp_path / "ct.nii.gz", hu_volume())), str(path), useCompression=True)
    np.testing.assert_array_equal(load_volume(path, VolumeOptions())[0].dataobj, hu_volume())
    file = path if suffix in (".nrrd", ".mha") else next(tmp_path.glob("ct.*raw*"))
    content = file.read_bytes()
    file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(DataError, match=rf"ct\{suffix}: is truncated or damaged: its voxels.* cannot be read"):
        load_volume(path, VolumeOptions())


_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nhdr", ".mhd"])
@pytest.mark.parametrize("dtype", _DTYPES)
def test_compressed_voxels_are_what_itk_reads(dtype: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    image = sitk.GetImageFromArray(np.abs(hu_volume()).astype(dtype) % 120)
    image.SetSpacing((2, 2, 3))
    sitk.WriteImage(image, str(path), useCompression=True)
    voxels = np.asarray(read_itk(path, VolumeOptions(), needs_orientation=False)[0].dataobj)
    assert voxels.dtype == dtype
    np.testing.assert_array_equal(voxels.T, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


@pytest.mark.parametrize(
    ("suffix", "little", "big"),
    [(".nhdr", "endian: little", "endian: big"), (".mhd", "ByteOrderMSB = False", "ByteOrderMSB = True")],
)
def test_compressed_voxels_of_either_byte_order_are_read(suffix: str, little: str, big: str, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.ReadImage(save(tmp_path / "ct.nii.gz", hu_volume())), str(path), useCompression=True)
    voxels = next(tmp_path.glob("ct.*raw*"))
    opened = gzip if suffix == ".nhdr" else zlib
    swapped = np.frombuffer(opened.decompress(voxels.read_bytes()), "<i2").byteswap().tobytes()
    voxels.write_bytes(opened.compress(swapped))
    text = re.sub("CompressedDataSize.*\n", "", path.read_text())
    assert little in text
    path.write_text(text.replace(little, big))
    np.testing.assert_array_equal(load_volume(path, VolumeOptions())[0].dataobj, hu_volume())


@pytest.mark.parametrize(("suffix", "line"), [(".nhdr", r"^space: .*"), (".mhd", r"^TransformMatrix.*\n")])
def test_a_label_without_orientation_can_take_its_image_s(suffix: str, line: str, tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", hu_volume())
    label = converted(save(tmp_path / "label.nii.gz", label_volume()), suffix)
    text = "space dimension: 3" if suffix == ".nhdr" else ""
    label.write_text(re.sub(line, text, label.read_text(), flags=re.MULTILINE))
    with pytest.raises(DataError, match="does not record its orientation"):
        load_volume_label(label, VolumeOptions())
    read = load_volume_pair(image, label, VolumeOptions(geometry="image"))[1]
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-5)
    assert np.array_equal(np.asarray(read.dataobj), label_volume())


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_s_hash_is_that_of_its_voxels_too(suffix: str, tmp_path: Path) -> None:
    path = header_file(tmp_path, suffix)
    before = content_sha256(path)
    verdicts = Verdicts(tmp_path / "cache")
    key = verdicts.key([path], VolumeOptions())
    voxels = path.with_suffix(".raw")
    content = bytearray(voxels.read_bytes())
    content[len(content) // 2] ^= 1
    voxels.write_bytes(content)
    assert content_sha256(path) != before
    assert verdicts.key([path], VolumeOptions()) != key


def test_a_folder_s_hash_is_that_of_every_file(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.dcm").write_bytes(bytes([number]))
    before = content_sha256(tmp_path)
    (tmp_path / "1.dcm").write_bytes(b"x")
    assert content_sha256(tmp_path) != before
