from .balancing import BalancedStep as BalancedStep
from .balancing import Balancer as Balancer
from .balancing import backward as backward
from .bundle import load_bundle as load_bundle
from .bundle import save_bundle as save_bundle
from .data import (
    DataSource as DataSource,
)
from .data import (
    RowStream as RowStream,
)
from .data import (
    StreamedTable as StreamedTable,
)
from .data import (
    SupervisedTable as SupervisedTable,
)
from .data import (
    TensorData as TensorData,
)
from .data import (
    load_energy_efficiency as load_energy_efficiency,
)
from .data import (
    load_penguins as load_penguins,
)
from .data import (
    read_table as read_table,
)
from .data import (
    table_files as table_files,
)
from .errors import (
    InvalidInputError as InvalidInputError,
)
from .errors import (
    JointrainError as JointrainError,
)
from .errors import (
    MissingDependencyError as MissingDependencyError,
)
from .errors import (
    NotFittedError as NotFittedError,
)
from .errors import (
    WorkerDiedError as WorkerDiedError,
)
from .estimators import JointClassifier as JointClassifier
from .estimators import JointEstimator as JointEstimator
from .estimators import JointRegressor as JointRegressor
from .experiments import (
    Experiment as Experiment,
)
from .experiments import (
    Folds as Folds,
)
from .experiments import (
    Given as Given,
)
from .experiments import (
    Holdout as Holdout,
)
from .experiments import (
    Recipe as Recipe,
)
from .experiments import (
    default_recipes as default_recipes,
)
from .experiments import (
    named_recipes as named_recipes,
)
from .metrics import Metric as Metric
from .networks import MLP as MLP
from .networks import HardSharing as HardSharing
from .networks import Network as Network
from .studies import (
    Study as Study,
)
from .studies import (
    StudyResult as StudyResult,
)
from .studies import (
    fit_chosen as fit_chosen,
)
from .studies import (
    fit_shipped as fit_shipped,
)
from .studies import (
    run_within_budget as run_within_budget,
)
from .tables import (
    BlendedModel as BlendedModel,
)
from .tables import (
    ColumnImportance as ColumnImportance,
)
from .tables import (
    Explanations as Explanations,
)
from .tables import (
    TableModel as TableModel,
)
from .tables import (
    column_importance as column_importance,
)
from .tables import (
    evaluate_streamed as evaluate_streamed,
)
from .tables import (
    explain as explain,
)
from .tables import (
    fit_streamed as fit_streamed,
)
from .tables import (
    fit_table as fit_table,
)
from .tables import (
    predict_streamed as predict_streamed,
)
from .tables import (
    unseen_column_importance as unseen_column_importance,
)
from .task import Task as Task
from .training import (
    Alternating as Alternating,
)
from .training import (
    Callback as Callback,
)
from .training import (
    Checkpoints as Checkpoints,
)
from .training import (
    ConsoleLogger as ConsoleLogger,
)
from .training import (
    Contrastive as Contrastive,
)
from .training import (
    CSVLogger as CSVLogger,
)
from .training import (
    Denoising as Denoising,
)
from .training import (
    EpochRecord as EpochRecord,
)
from .training import (
    Joint as Joint,
)
from .training import (
    Logger as Logger,
)
from .training import (
    MaskedFeatures as MaskedFeatures,
)
from .training import (
    Merge as Merge,
)
from .training import (
    Mixture as Mixture,
)
from .training import (
    MixtureLoader as MixtureLoader,
)
from .training import (
    MixturePlan as MixturePlan,
)
from .training import (
    MLflowLogger as MLflowLogger,
)
from .training import (
    NetworkModel as NetworkModel,
)
from .training import (
    OptimizerSettings as OptimizerSettings,
)
from .training import (
    Phase as Phase,
)
from .training import (
    Phases as Phases,
)
from .training import (
    RunProgress as RunProgress,
)
from .training import (
    Separate as Separate,
)
from .training import (
    TensorBoardLogger as TensorBoardLogger,
)
from .training import (
    Trainer as Trainer,
)
from .training import (
    TrainingSettings as TrainingSettings,
)
from .training import (
    WandBLogger as WandBLogger,
)
from .training import (
    pretrain as pretrain,
)

__version__: str
