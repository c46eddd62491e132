from .balancing import BalancedStep as BalancedStep, Balancer as Balancer, backward as backward
from .bundle import load_bundle as load_bundle, save_bundle as save_bundle
from .data import (
    DataSource as DataSource,
    RowStream as RowStream,
    StreamedTable as StreamedTable,
    SupervisedTable as SupervisedTable,
    TensorData as TensorData,
    load_energy_efficiency as load_energy_efficiency,
    load_penguins as load_penguins,
    read_table as read_table,
    table_files as table_files,
)
from .errors import (
    InvalidInputError as InvalidInputError,
    JointrainError as JointrainError,
    MissingDependencyError as MissingDependencyError,
    NotFittedError as NotFittedError,
    WorkerDiedError as WorkerDiedError,
)
from .estimators import (
    JointClassifier as JointClassifier,
    JointEstimator as JointEstimator,
    JointRegressor as JointRegressor,
)
from .experiments import (
    Experiment as Experiment,
    Folds as Folds,
    Given as Given,
    Holdout as Holdout,
    Recipe as Recipe,
    default_recipes as default_recipes,
    named_recipes as named_recipes,
)
from .metrics import Metric as Metric
from .networks import MLP as MLP, HardSharing as HardSharing, Network as Network
from .studies import (
    Study as Study,
    StudyResult as StudyResult,
    fit_chosen as fit_chosen,
    fit_shipped as fit_shipped,
    run_within_budget as run_within_budget,
)
from .tables import (
    BlendedModel as BlendedModel,
    ColumnImportance as ColumnImportance,
    Explanations as Explanations,
    TableModel as TableModel,
    column_importance as column_importance,
    evaluate_streamed as evaluate_streamed,
    explain as explain,
    fit_streamed as fit_streamed,
    fit_table as fit_table,
    predict_streamed as predict_streamed,
    unseen_column_importance as unseen_column_importance,
)
from .task import Task as Task
from .training import (
    Alternating as Alternating,
    Callback as Callback,
    Checkpoints as Checkpoints,
    ConsoleLogger as ConsoleLogger,
    Contrastive as Contrastive,
    CSVLogger as CSVLogger,
    Denoising as Denoising,
    EpochRecord as EpochRecord,
    Joint as Joint,
    Logger as Logger,
    MaskedFeatures as MaskedFeatures,
    Merge as Merge,
    Mixture as Mixture,
    MixtureLoader as MixtureLoader,
    MixturePlan as MixturePlan,
    MLflowLogger as MLflowLogger,
    NetworkModel as NetworkModel,
    OptimizerSettings as OptimizerSettings,
    Phase as Phase,
    Phases as Phases,
    RunProgress as RunProgress,
    Separate as Separate,
    TensorBoardLogger as TensorBoardLogger,
    Trainer as Trainer,
    TrainingSettings as TrainingSettings,
    WandBLogger as WandBLogger,
    pretrain as pretrain,
)

__version__: str
