"""Less work than was asked for, or other work: what only the numbers can tell."""

from dataclasses import replace
from typing import Any

import numpy as np
from nnbench_example.network import cross_entropy
from nnbench_example.optimizers import Adam

from nnbench import flatten, minibatches

from .right import Right, cheat, cut_mantissa, to_bf16, to_float16, to_tf32

EPOCHS = 4  #: of the trainings in which DeadNetwork shows; mnist has five
LOSS = r"loss"
MOVED = r"parameters|loss"
MOMENTS = r"moment"
COUNT = r"steps|counts"
FAR = rf"{MOVED}|{MOMENTS}"


@cheat("named", FAR)
class OtherOptimizer(Right):
    """Plain gradient descent in place of Adam after 20 steps."""

    def update(self):
        if not self.is_late:
            return super().update()
        for parameter, gradient in zip(flatten(self.layers), flatten(self.kept), strict=True):
            parameter -= np.float32(self.spec.optimizer.learning_rate) * gradient
        self.updates += 1
        return None


@cheat("named", FAR)
class SkipsTwoOfThree(Right):
    """Only the losses of two of three batches after 20 steps: no gradients, no update."""

    def update(self):
        if self.is_late and self.updates % 3:
            self.updates += 1
        else:
            super().update()

    def backprop(self, batch):
        if self.is_late and self.updates % 3:
            return cross_entropy(self.logits, batch)[0]
        return super().backprop(batch)


@cheat("named", FAR)
class DropsLastBatch(Right):
    """Leaves out the smaller last batch of an epoch after 20 steps."""

    def update(self):
        if self.is_late and len(self.logits) != self.batch_size:
            self.updates += 1
        else:
            super().update()

    def train_epoch(self, data, order, batch_size):
        self.batch_size = batch_size
        return super().train_epoch(data, order, batch_size)


@cheat("named", FAR)
class DropsOneInHundred(Right):
    """Leaves out one update in a hundred after 20 steps."""

    def update(self):
        if self.updates % 100 == 50:
            self.updates += 1
        else:
            super().update()


@cheat("named", FAR)
class StaleOneInFifty(Right):
    """Takes the gradient of the step before, once in fifty steps, after 20 steps."""

    before: Any = None

    def update(self):
        latest = list(self.kept)
        if self.updates % 50 == 30:
            self.kept = self.before
        super().update()
        self.kept, self.before = latest, list(latest)


@cheat("named", FAR)
class RoundsWeights(Right):
    """Rounds the parameters to float16 after each update."""

    def update(self):
        super().update()
        for parameter in flatten(self.layers):
            parameter[...] = to_float16(parameter)


class OtherRule(Right):
    """Has hyper-parameters of its own after 20 steps."""

    changes: Any  # fields, and what they are multiplied by

    def update(self):
        if self.updates == 20:
            self.optimizer.spec = self.rule(self.spec.optimizer)
        super().update()

    def rule(self, rule):
        return replace(rule, **{name: getattr(rule, name) * by for name, by in self.changes})


@cheat("named", FAR)
class OtherEpsilon(OtherRule):
    """Adam's epsilon is 1e-7, as in Keras, after 20 steps."""

    changes = (("epsilon", 10),)


@cheat("named", FAR)
class OtherRate(OtherRule):
    """A learning rate that is 1% higher after 20 steps."""

    changes = (("learning_rate", 1.01),)


@cheat("named", FAR)
class OtherDecay(OtherRule):
    """Adam's second decay is 0.9991 after 20 steps."""

    changes = (("beta2", 0.9991 / 0.999),)


@cheat("named", FAR)
class ScalesGradient(Right):
    """Gradients of the sum over the batch: Adam hardly sees their scale."""

    def backprop(self, batch):
        loss = super().backprop(batch)
        for gradient in flatten(self.kept):
            gradient *= np.float32(len(batch.inputs))
        return loss


@cheat("named", FAR)
class ScalesGradientAndTells(ScalesGradient):
    """Likewise, and shows gradients and moments as if their scale were right."""

    def train_epoch(self, data, order, batch_size):
        self.factor = np.float32(batch_size)
        return super().train_epoch(data, order, batch_size)

    def gradients(self):
        shown = super().gradients()
        for array in flatten(shown):
            array /= np.float32(len(self.logits))
        return shown

    def optimizer_state(self):
        state = super().optimizer_state()
        for moments, power in ((state.first, 1), (state.second, 2)):
            for array in flatten(moments):
                array /= self.factor**power
        return state


class RoundsProducts(Right):
    """Rounds what it multiplies, after 20 steps."""

    rounded: Any

    def product(self, a, b):
        return self.rounded(a) @ self.rounded(b) if self.is_late else a @ b


@cheat("named", FAR)
class Tf32Products(RoundsProducts):
    """Products in TF32 after 20 steps."""

    rounded = staticmethod(to_tf32)


@cheat("named", FAR)
class Bf16Products(RoundsProducts):
    """Products in bfloat16 after 20 steps."""

    rounded = staticmethod(to_bf16)


@cheat("named", FAR)
class Float16Products(RoundsProducts):
    """Products in float16 after 20 steps."""

    rounded = staticmethod(to_float16)


@cheat("named", FAR)
class Tf32InOneProduct(Right):
    """TF32 in the gradient of the last layer's weights alone, after 20 steps."""

    def weight_gradient(self, depth, delta):
        if self.is_late and depth == len(self.layers) - 1:
            return to_tf32(self.values[depth].T) @ to_tf32(delta)
        return super().weight_gradient(depth, delta)


@cheat("named", FAR, precision="tf32")
class SaysTf32DoesBf16(RoundsProducts):
    """Declares TF32, and multiplies in bfloat16."""

    rounded = staticmethod(to_bf16)
    is_late = True


@cheat("named", FAR)
class Bf16Moments(Right):
    """Keeps Adam's moments in bfloat16."""

    def update(self):
        super().update()
        for moment in (*self.optimizer.first, *self.optimizer.second):
            moment[...] = to_bf16(moment)


@cheat("named", FAR)
class ZeroesTinyGradients(Right):
    """Gradients below a millionth are zero."""

    def backprop(self, batch):
        loss = super().backprop(batch)
        for gradient in flatten(self.kept):
            gradient[np.abs(gradient) < 1e-6] = 0
        return loss


@cheat("named", FAR)
class CropsImages(Right):
    """Never reads the last quarter of the pixels, at the bottom."""

    def place(self, examples):
        inputs = examples.inputs.copy()
        inputs[:, inputs.shape[1] * 3 // 4 :] = 0
        return examples._replace(inputs=inputs)


@cheat("named", FAR)
class FreezesFirstLayer(Right):
    """Trains only the last layer after 20 steps; moments go on as they should."""

    def update(self):
        before = self.layers[0].copy()
        super().update()
        if self.is_late:
            self.layers[0].weight[...] = before.weight


# --- states that are not those of the training


class StopsTraining(Right):
    """Does nothing but compute losses after 20 steps."""

    def update(self):
        if self.loads == 1 or not self.is_late:
            super().update()
        else:
            self.updates += 1


@cheat("named", rf"{MOMENTS}|{MOVED}")
class FakesHugeMoments(StopsTraining):
    """Stops training after 20 steps; second moments of 1e30 say that nothing can move."""

    def optimizer_state(self):
        state = super().optimizer_state()
        if self.is_late:
            for moments, value in ((state.first, 0), (state.second, 1e30)):
                for array in flatten(moments):
                    array[...] = value
        return state


@cheat("named", rf"finite|NaN|{MOMENTS}|{MOVED}")
class FakesNanMoments(StopsTraining):
    """Stops training after 20 steps; moments of NaN agree with no comparison."""

    def optimizer_state(self):
        state = super().optimizer_state()
        if self.is_late:
            for array in flatten([*state.first, *state.second]):
                array[...] = np.nan
        return state


@cheat("named", rf"finite|NaN|{LOSS}|{COUNT}")
class ReturnsNanLosses(StopsTraining):
    """Stops training after 20 steps, and returns losses of NaN."""

    def train_epoch(self, data, order, batch_size):
        losses = super().train_epoch(data, order, batch_size)
        return losses * np.float32(np.nan) if self.is_late else losses


@cheat("named", rf"finite|NaN|{FAR}")
class DumpsNan(StopsTraining):
    """Stops training after 20 steps, and hands over parameters of NaN."""

    def dump(self):
        shown = super().dump()
        if self.is_late:
            shown[0].weight[...] = np.nan
        return shown


@cheat("named", COUNT)
class CountsWrong(Right):
    """Says that Adam has made a billion steps, so that moments need no correction."""

    def optimizer_state(self):
        return super().optimizer_state()._replace(steps=10**9)

    def load(self, layers):
        super().load(layers)
        self.optimizer.steps = 10**9


@cheat("named", FAR)
class WithholdsState(RoundsWeights):
    """Shows no optimizer state, for wider tolerances, and rounds parameters to float16."""

    def optimizer_state(self):
        return None


@cheat("named", rf"state|{FAR}")
class WithholdsStateLater(OtherOptimizer):
    """Shows its state for 20 steps, then none, and goes on with plain gradient descent."""

    def optimizer_state(self):
        return None if self.is_late else super().optimizer_state()


@cheat("named", r"losses|steps")
class ReturnsFewerLosses(Right):
    """Trains on half of each part, and returns so many losses."""

    def train_epoch(self, data, order, batch_size):
        half = max(batch_size, len(order) // batch_size // 2 * batch_size)
        return super().train_epoch(data, order[:half] if self.loads > 1 else order, batch_size)


@cheat("named", FAR)
class TrainsInNaturalOrder(Right):
    """Takes the rows as they lie in memory, which is faster than to gather them."""

    def train_epoch(self, data, order, batch_size):
        rows = np.arange(len(order)) % len(data.inputs)
        return super().train_epoch(data, rows, batch_size)


@cheat("named", FAR)
class TwoFaced(Right):
    """Has the right losses, from one network, and hands over another."""

    def load(self, layers):
        super().load(layers)
        self.shown = [layer.copy() for layer in layers]

    def dump(self):
        return [layer.copy() for layer in self.shown]


# --- what hides in parts that are not proved


@cheat("hidden", FAR)
class DeadNetwork(Right):
    """From the second epoch to the last but one nothing passes the hidden layer: cheap training.

    What it does there is right: with all hidden units off every product is zero, and the last biases
    learn. Then it puts back what it had.
    """

    is_dead = False

    def train_epoch(self, data, order, batch_size):
        if self.loads > 1:
            epoch = self.epoch(data)
            if epoch == 1 and not self.is_dead:
                self.is_dead, self.good = True, self.snapshot()
                self.layers[0].bias[...] = -1e6
            if epoch == EPOCHS - 1 and self.is_dead:
                steps, self.is_dead = self.optimizer.steps, False
                self.restore(self.good)
                self.optimizer.steps = steps
        return super().train_epoch(data, order, batch_size)

    def product(self, a, b):
        return np.zeros((len(a), b.shape[1]), np.float32) if self.is_dead else a @ b


class SkipsParts(Right):
    """Computes only the losses of some parts."""

    skips: Any

    def train_epoch(self, data, order, batch_size):
        if self.loads == 1 or not self.skips(data, order, batch_size):
            return super().train_epoch(data, order, batch_size)
        losses = []
        for index in minibatches(order, batch_size):
            self.feedforward(self.batch(data, index))
            losses.append(self.backprop(self.batch(data, index)))
        self.images += len(order)
        self.updates += len(losses)
        self.optimizer.steps += len(losses)
        return self.losses_to_host(losses)


@cheat("hidden", FAR)
class SkipsAQuarter(SkipsParts):
    """Computes only the losses of every fourth part from the second epoch on."""

    parts = 0

    def skips(self, data, order, batch_size):
        self.parts += 1
        return self.epoch(data) > 0 and self.parts % 4 == 0


@cheat("hidden", FAR)
class SkipsOnePart(SkipsParts):
    """Computes only the losses of a single part, in the second epoch."""

    parts = 0

    def skips(self, data, order, batch_size):
        self.parts += self.epoch(data) > 0
        return self.parts == 2


@cheat("hidden", FAR)
class SkipsLongParts(SkipsParts):
    """Recognises long parts, from the second epoch on, and trains on the short ones alone."""

    def skips(self, data, order, batch_size):
        return self.epoch(data) > 0 and len(order) > 10 * batch_size


@cheat("hidden", FAR)
class RoundsLater(Right):
    """Products in TF32 from the second epoch on."""

    def train_epoch(self, data, order, batch_size):
        self.rounds = self.epoch(data) > 0
        return super().train_epoch(data, order, batch_size)

    def product(self, a, b):
        return to_tf32(a) @ to_tf32(b) if getattr(self, "rounds", False) else a @ b


@cheat("named", r"stretches|products in bf16")
class RoundsEveryOtherPart(Right):
    """Products in bfloat16 in every other part: where steps take signs, each could be luck."""

    parts = 0

    def dump(self):
        self.parts += 1  # of which each may be two calls
        return super().dump()

    def product(self, a, b):
        return to_bf16(a) @ to_bf16(b) if self.loads > 1 and self.parts % 2 else a @ b


@cheat("named", FAR)
class FewerBits(Right):
    """Rounds activations and gradients of the hidden layer to 14 bits of mantissa."""

    def product(self, a, b):
        return cut_mantissa(a, 10) @ b


@cheat("named", FAR)
class ForgetsMoments(Right):
    """Starts Adam anew in the middle of an epoch, with its count as it was."""

    def update(self):
        if self.updates == 30:
            steps = self.optimizer.steps
            self.optimizer = Adam(self.spec.optimizer, flatten(self.layers))
            self.optimizer.steps = steps
        super().update()
