"""Which names of Parsl's modules there are, and what stands behind each.

A line is a module of Parsl and where its names come from: ``"home: name, theirs=ours, ..."``.  The
modules are made by :mod:`~parsl_ckpt.compat.finder`, when they are imported.
"""

from __future__ import annotations

_APPS = "compat.apps: python_app, bash_app, join_app"
_ERRORS = (
    "errors: AppException, AppBadFormatting, BashExitFailure, AppTimeout, BashAppNoReturn, "
    "MissingOutputs, BadStdStreamFile, ParslError=ParslCkptError"
)
_MEMO = (
    "compat.memo: BasicMemoizer, id_for_memo_pickle",
    "kernel.memoizer: Memoizer",
    "identity.values: id_for_memo",
    "errors: BadCheckpoint=StoreError",
)
_RESOLVERS = (
    "kernel.resolving: DependencyResolver, SHALLOW_DEPENDENCY_RESOLVER, DEEP_DEPENDENCY_RESOLVER, "
    "shallow_traverse_to_gather, shallow_traverse_to_unwrap, deep_traverse_to_gather, "
    "deep_traverse_to_unwrap",
)
_RUNS = "checkpoint.rundir: get_all_checkpoints, get_last_checkpoint"
_EXECUTORS = (
    "compat.executors: ThreadPoolExecutor, HighThroughputExecutor",
    "compat.elsewhere: MPIExecutor, WorkQueueExecutor, FluxExecutor, GlobusComputeExecutor",
)

MODULES: dict[str, tuple[str, ...]] = {
    "": (
        _APPS,
        "apps: File",
        "compat.config: Config",
        "compat.kernel: DataFlowKernel, DataFlowKernelLoader",
        "compat.executors: ThreadPoolExecutor, HighThroughputExecutor",
        "compat.elsewhere: WorkQueueExecutor, MonitoringHub",
        "compat.logs: set_stream_logger, set_file_logger",
        "kernel.streams: AUTO_LOGNAME",
        "apps: App",
    ),
    "addresses": (
        "compat.elsewhere: address_by_hostname, address_by_query, address_by_route, "
        "address_by_interface, get_any_address",
    ),
    "app": (),
    "app.app": (_APPS, "apps.app: AppBase", "apps: App"),
    "app.bash": ("compat.apps: BashApp=ParslApp",),
    "app.errors": (_ERRORS,),
    "app.futures": ("kernel.data: DataFuture",),
    "app.python": ("compat.apps: PythonApp=ParslApp",),
    "concurrent": ("compat.pool: ParslPoolExecutor",),
    "config": ("compat.config: Config",),
    "configs": (),
    "configs.htex_local": ("compat.ready: config=htex_local",),
    "configs.local_threads": ("compat.ready: config=local_threads",),
    "data_provider": (),
    "data_provider.data_manager": ("compat.staging: default_staging",),
    "data_provider.file_noop": ("compat.staging: NoOpFileStaging",),
    "data_provider.files": ("apps: File",),
    "data_provider.ftp": (
        "apps.staging: FTPInTaskStaging=FsspecStaging, FTPSeparateTaskStaging=FsspecStaging",
    ),
    "data_provider.http": (
        "apps.staging: HTTPInTaskStaging=FsspecStaging, HTTPSeparateTaskStaging=FsspecStaging",
    ),
    "data_provider.staging": ("compat.staging: Staging",),
    "data_provider.zip": ("apps.staging.zipped: ZipFileStaging, ZipAuthorityError",),
    "dataflow": (),
    "dataflow.dependency_resolvers": _RESOLVERS,
    "dataflow.dflow": ("compat.kernel: DataFlowKernel, DataFlowKernelLoader",),
    "dataflow.errors": (
        "errors: DataFlowException=KernelError, PropagatedException=PropagatedError, "
        "DependencyError, JoinError, BadCheckpoint=StoreError",
    ),
    "dataflow.futures": ("kernel.futures: AppFuture",),
    "dataflow.memoization": _MEMO,
    "dataflow.rundirs": (),
    "dataflow.states": ("compat.states: States, FINAL_STATES, FINAL_FAILURE_STATES",),
    "dataflow.taskrecord": ("kernel.records: TaskRecord",),
    "errors": (
        "errors: ParslError=ParslCkptError, ConfigurationError, NoDataFlowKernelError, "
        "InternalConsistencyError=IllegalTransitionError",
    ),
    "executors": _EXECUTORS,
    "executors.base": ("compat.executors: ParslExecutor",),
    "executors.errors": (
        "errors: ExecutorError, InvalidResourceSpecification, BadStateException=ExecutorError, "
        "ScalingFailed=ExecutorError, UnsupportedFeatureError=InvalidResourceSpecification",
    ),
    "executors.high_throughput": (),
    "executors.high_throughput.errors": (
        "errors: WorkerLost=WorkerLostError, ManagerLost=WorkerLostError",
    ),
    "executors.high_throughput.executor": ("compat.executors: HighThroughputExecutor",),
    "executors.threads": ("compat.executors: ThreadPoolExecutor",),
    "launchers": (
        "compat.executors: SimpleLauncher, SingleNodeLauncher",
        "compat.elsewhere: SrunLauncher, AprunLauncher, SrunMPILauncher, JsrunLauncher, "
        "GnuParallelLauncher, MpiExecLauncher, MpiRunLauncher, WrappedLauncher",
    ),
    "log_utils": ("compat.logs: set_stream_logger, set_file_logger, DEFAULT_FORMAT",),
    "logconfigs": (),
    "logconfigs.base": ("compat.logs: LogConfig",),
    "logconfigs.file": ("compat.logs: FileLogging",),
    "logconfigs.json": ("compat.logs: JSONLogging",),
    "logconfigs.noop": ("compat.logs: NoopLogging",),
    "monitoring": ("compat.elsewhere: MonitoringHub",),
    "monitoring.monitoring": ("compat.elsewhere: MonitoringHub",),
    "providers": (
        "compat.executors: LocalProvider",
        "compat.elsewhere: AWSProvider, AzureProvider, CondorProvider, GoogleCloudProvider, "
        "GridEngineProvider, KubernetesProvider, LSFProvider, PBSProProvider, SlurmProvider, "
        "TorqueProvider",
    ),
    "providers.local": (),
    "providers.local.local": ("compat.executors: LocalProvider",),
    "serialize": (),
    "serialize.errors": (
        "errors: SerializationError=CallTransportError, DeserializationError=ResultTransportError",
    ),
    "usage_tracking": (),
    "usage_tracking.levels": ("compat.ready: DISABLED, LEVEL_1, LEVEL_2, LEVEL_3",),
    "utils": (_RUNS,),
    "version": ("compat.ready: VERSION",),
}
