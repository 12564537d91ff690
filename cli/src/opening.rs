//! From a model's name to something that runs it, with as much as possible at once: while the file
//! is bound to its architecture and compiled, the device is opened and the tokenizer is built.

use crate::backend::{Backend, Device, GpuModel, ReferenceBackend};
use crate::background::Pending;
use crate::error::{CliError, Result};
use crate::model::{Model, Source, check_vocabulary};
use crate::options::{PlanArgs, SavedArgs};
use crate::output;
use crate::pipelines::KeptPipelines;
use crate::saved;
use crate::text::Text;
use crate::tuned;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{Phase, Plan, PlanOptions};
use quarrel_models::arch::context_length;
use quarrel_runtime::Tracer;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model on its way.
pub(crate) struct Opening<'a> {
    /// As the user named it.
    pub(crate) name: String,
    /// Facts and weights.
    pub(crate) source: Source,
    /// Number of token ids.
    pub(crate) vocabulary: u64,
    /// Positions that the model was trained for, where it says so.
    trained: Option<u64>,
    what: What,
    plan: &'a PlanArgs,
    started: Instant,
    tracer: Option<Arc<Tracer>>,
    text: Option<Pending<Result<Text>>>,
    device: Option<Pending<Result<Device>>>,
}

/// What the device will run.
enum What {
    /// A graph that is still to be compiled.
    Graph(Box<Graph>),
    /// A plan from a file.
    Saved(Box<Plan>),
}

/// A model that is compiled, but not loaded.
pub(crate) struct Compiled {
    kind: Kind,
    kept: Option<KeptPipelines>,
    time: Duration,
}

enum Kind {
    Gpu(Box<GpuModel>),
    Reference { context: u32, chunk: u32 },
}

/// A model that can be run, and how long it took to get there.
pub(crate) struct Ready {
    pub(crate) backend: Box<dyn Backend>,
    /// Written when the backend has ended, and with it what it still compiles.
    _kept: Option<KeptPipelines>,
    /// When the command began.
    pub(crate) started: Instant,
    /// Loading the weights.
    pub(crate) load: Duration,
    /// From the graph to the plan.
    pub(crate) compile: Duration,
}

impl<'a> Opening<'a> {
    /// Opens the file, starts everything else, and builds the graph, or reads the plan that was
    /// saved.
    pub(crate) fn start(name: &str, plan: &'a PlanArgs, saved: &SavedArgs) -> Result<Opening<'a>> {
        let started = Instant::now();
        let source = Source::open(name, &plan.mapping)?;
        let device = Device::start(plan);
        let text = source.start_text();
        let (source, what, vocabulary) = match &saved.saved {
            Some(path) => {
                let saved = saved::read_for(path, &source, plan)?;
                let vocabulary = saved.model.vocabulary.into();
                (source, What::Saved(Box::new(saved)), vocabulary)
            }
            None => {
                let model = Model::bind(name, source, plan)?;
                let vocabulary = model.summary.vocabulary;
                (model.source, What::Graph(Box::new(model.graph)), vocabulary)
            }
        };
        let trained = context_length(source.facts());
        let (name, text, device) = (name.into(), Some(text), Some(device));
        let tracer = None;
        Ok(Opening { name, source, vocabulary, trained, what, plan, started, tracer, text, device })
    }

    /// Has what follows traced, from the beginning of the command on.
    pub(crate) fn start_trace(&mut self) -> Result<()> {
        if self.plan.is_reference() {
            return Err(CliError::user(
                "--trace needs a GPU: the reference interpreter has no steps",
            ));
        }
        let tracer = Tracer::since(self.started);
        tracer.until_now("open the model");
        self.tracer = Some(Arc::new(tracer));
        Ok(())
    }

    /// Positions of a session, where nothing but the options and the model, or the saved plan,
    /// says how many.
    pub(crate) fn context(&self) -> u32 {
        match &self.what {
            What::Graph(_) => self.plan.context(self.trained),
            What::Saved(plan) => plan.options.context,
        }
    }

    /// Sequences that a saved plan decodes together.
    pub(crate) fn saved_slots(&self) -> Option<u32> {
        match &self.what {
            What::Graph(_) => None,
            What::Saved(plan) => Some(plan.options.slots),
        }
    }

    /// The tokenizer, once, with its vocabulary checked.
    pub(crate) fn text(&mut self) -> Result<Text> {
        let text = self.take_text()?;
        let text = text.map_err(|error| error.at(&self.name))?;
        check_vocabulary(&self.name, self.vocabulary, &text)?;
        Ok(text)
    }

    /// The tokenizer, once, where the prompt is given as ids: `None` if there is none to be had.
    pub(crate) fn optional_text(&mut self) -> Result<Option<Text>> {
        let text = self.take_text()?;
        let text = self.source.optional_text(text);
        let text = text.map_err(|error| error.at(&self.name))?;
        // With another vocabulary its pieces would be wrong: ids speak for themselves then.
        Ok(text.filter(|text| check_vocabulary(&self.name, self.vocabulary, text).is_ok()))
    }

    /// Waits for the device and compiles for one sequence of `context` positions and logits of
    /// `out_rows` rows.
    pub(crate) fn compile(&mut self, context: u32, out_rows: u32) -> Result<Compiled> {
        self.compile_with(&self.plan.plan_options(context, out_rows))
    }

    /// Waits for the device and compiles for `slots` sequences of `context` positions.
    pub(crate) fn compile_slots(&mut self, context: u32, slots: u32) -> Result<Compiled> {
        self.compile_with(&PlanOptions { slots, ..self.plan.plan_options(context, 1) })
    }

    fn compile_with(&mut self, options: &PlanOptions) -> Result<Compiled> {
        let device = self.device.take().ok_or_else(|| once("device"))?.wait()?;
        let mut device = match (device, &self.tracer) {
            (Device::Gpu(gpu), Some(tracer)) => Device::Gpu(gpu.traced_by(Arc::clone(tracer))),
            (device, _) => device,
        };
        let start = Instant::now();
        let kept = match &mut device {
            Device::Gpu(gpu) => KeptPipelines::open(gpu),
            Device::Reference => None,
        };
        let compiling = self.tracer.as_ref().map(|tracer| tracer.begin("compile the plan"));
        let kind = match (device, &mut self.what) {
            (Device::Reference, What::Graph(_)) => {
                Kind::Reference { context: options.context, chunk: options.chunk }
            }
            (Device::Gpu(gpu), What::Graph(graph)) => {
                let options = tuned::with(options, &gpu.facts(), self.plan);
                Kind::Gpu(Box::new(GpuModel::compile(graph, gpu, &options)?))
            }
            (device, What::Saved(plan)) => {
                let gpu = device.gpu("--plan")?;
                saved::check_room(plan, options)?;
                Kind::Gpu(Box::new(GpuModel::of(Plan::clone(plan), gpu)))
            }
        };
        drop(compiling);
        let time = start.elapsed();
        self.note_context();
        Ok(Compiled { kind, kept, time })
    }

    /// Tells the user where `--ctx` goes beyond the positions that the model knows.
    fn note_context(&self) {
        if let (Some(asked), Some(known)) = (self.plan.ctx, self.trained)
            && u64::from(asked) > known
        {
            output::remark(&format!(
                "note: the context has {asked} positions, but the model was made for {known}: \
                 beyond them its text may make no sense\n"
            ));
        }
    }

    /// Loads the weights; kernels of `phases` are compiled meanwhile, first needed first.
    pub(crate) fn load(&self, compiled: Compiled, phases: &[Phase]) -> Result<Ready> {
        let start = Instant::now();
        let weights = self.source.weights();
        let backend: Box<dyn Backend> = match (compiled.kind, &self.what) {
            (Kind::Gpu(model), _) => Box::new(model.load(weights, phases)?),
            (Kind::Reference { context, chunk }, What::Graph(graph)) => {
                Box::new(ReferenceBackend::new(graph, weights, context, chunk)?)
            }
            (Kind::Reference { .. }, What::Saved(_)) => return Err(once("plan")),
        };
        let (started, load) = (self.started, start.elapsed());
        Ok(Ready { backend, _kept: compiled.kept, started, load, compile: compiled.time })
    }

    fn take_text(&mut self) -> Result<Result<Text>> {
        Ok(self.text.take().ok_or_else(|| once("tokenizer"))?.wait())
    }
}

/// An error of ours: a command took a part twice.
fn once(what: &str) -> CliError {
    CliError::Failure(format!("a bug in Quarrel, please report it: the {what} was taken twice"))
}
