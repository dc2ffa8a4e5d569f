#!/usr/bin/env bash
# Makes the virtual environments of the libraries we are measured against, each apart from ours:
#
#   bash benchmarks/peers/setup.sh [imitation|robomimic|jax|lerobot ...]      default: imitation robomimic jax
#
# They lie in .peers/<name> of the repository. One that is complete is left as it is; one whose recipe below has
# changed, or whose installation was cut short, is made anew. PYTHON names the interpreter (default: python3.11),
# pip's own configuration the package index.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
peers=$root/.peers
python=${PYTHON:-python3.11}
torch=torch==2.13.0 # first in every environment: an unpinned torch brings gigabytes of CUDA packages

recipe_imitation() {
    pip install "$torch"
    # Sacred, a dependency, imports pkg_resources, which setuptools 81 removed.
    pip install imitation==1.0.1 stable-baselines3==2.2.1 gymnasium==0.29.1 'numpy>=2,<2.5' 'setuptools<81'
    check 'from imitation.algorithms import bc'
}

recipe_robomimic() {
    pip install "$torch"
    # Its declared dependencies pull diffusers 0.11.1 and a torchvision for which there is no matching CPU build;
    # behavioural cloning on low-dimensional data uses neither, but imports torchvision at the top.
    pip install 'numpy>=2,<2.5' h5py six tensorboard tensorboardX tqdm psutil imageio termcolor matplotlib 'setuptools<81'
    pip install --no-deps robomimic==0.3.0
    stub torchvision torchvision.transforms torchvision.transforms.functional torchvision.models
    check 'from robomimic.algo.bc import BC_GMM; from robomimic.utils.dataset import SequenceDataset'
}

recipe_jax() {
    pip install jax==0.10.2 jaxlib==0.10.2 'numpy>=2,<2.5'
    check 'import jax; jax.devices()'
}

recipe_lerobot() {
    pip install "$torch"
    # What it imports for ACT, diffusion and datasets, at the versions it asks for; the last release for Python 3.11.
    pip install 'numpy>=2,<2.5' 'accelerate>=1.10,<2' 'av<16' 'datasets>=4,<5' 'deepdiff<9' 'diffusers>=0.27.2,<0.36' \
        draccus==0.10.0 einops gymnasium 'huggingface_hub>=0.34.2,<0.36' imageio jsonlines 'packaging<26' \
        pynput pyserial safetensors 'setuptools<81' termcolor
    pip install --no-deps torchvision==0.28.0 lerobot==0.4.4
    # torchvision's compiled operators do not load beside a CPU torch; its import needs their two names only. To be
    # imported before lerobot.
    cat >"$(venv_site)/understudy_peer_torchvision.py" <<'PY'
import torch

_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PY
    check 'import understudy_peer_torchvision, lerobot.policies.act.modeling_act, lerobot.datasets.lerobot_dataset'
}

say() { printf 'peers: %s\n' "$*" >&2; }
pip() { "$venv/bin/python" -m pip "$1" --quiet --disable-pip-version-check "${@:2}"; }
venv_site() { "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
check() { PYTHONWARNINGS=ignore HF_HUB_OFFLINE=1 "$venv/bin/python" -c "$1" >/dev/null; }

# Modules that are imported but not used: any attribute is a class that does nothing.
stub() {
    local name site file
    site=$(venv_site)
    for name in "$@"; do
        file=$site/${name//./\/}/__init__.py
        mkdir -p "$(dirname "$file")"
        printf 'def __getattr__(name):\n    if name.startswith("__"):\n        raise AttributeError(name)\n    return type(name, (), {})\n' >"$file"
    done
}

make_peer() {
    local name=$1 stamp
    venv=$peers/$name
    stamp=$(declare -f "recipe_$name"; echo "$torch")
    if [[ -f $venv/.complete && $(<"$venv/.complete") == "$stamp" ]]; then
        say "$name is ready"
        return
    fi
    say "$name: installing"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "recipe_$name"
    printf '%s\n' "$stamp" >"$venv/.complete"
    say "$name is ready"
}

[[ $# -gt 0 ]] || set -- imitation robomimic jax
for name in "$@"; do
    if ! declare -F "recipe_$name" >/dev/null; then
        say "unknown peer '$name'; there are imitation, robomimic, jax and lerobot"
        exit 2
    fi
done
mkdir -p "$peers"
for name in "$@"; do make_peer "$name"; done
