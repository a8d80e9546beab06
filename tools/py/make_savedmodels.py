"""Makes SavedModels as companies have them, and what TensorFlow computes with them.

Usage, from the root of the repository, in a venv of its own (Python 3.11):

    python3.11 -m venv VENV && VENV/bin/pip install -r tools/py/savedmodel-requirements.txt
    VENV/bin/python tools/py/make_savedmodels.py                          # all small ones, into convert/savedmodel/testdata/models
    VENV/bin/python tools/py/make_savedmodels.py --out DIR half_plus_two  # only this one, elsewhere
    VENV/bin/python tools/py/make_savedmodels.py --out DIR large          # 400 MB of variables, for the benchmark

Each folder is a SavedModel and a `golden.json`:

    {"cases": [{"signature": key, "inputs": {name: Array}, "outputs": {name: Array}}]}
    Array: {"dtype": numpy's name, "shape": [..], "data": base64 of little-endian elements in row-major order}

What the folders are
====================

    half_plus_two     a tf.Module with one function
    half_plus_two_v1  a graph of TensorFlow 1: ref variables, a Saver, an asset, a second signature that parses examples
    resource_v1       a graph of TensorFlow 1 with resource variables whose keys in the bundle differ from their names
    frozen_v1         a graph of TensorFlow 1 whose weights are constants
    training_v1       a graph of TensorFlow 1 with branches for training: dropout, batch norm, a condition
    keras_text        tf-keras (Keras 2): Embedding, average pooling, Dense; saved with its training functions
    keras_conv        Keras 3: Embedding, Conv1D, pooling, batch norm, Dense; `export`
    keras_image       tf-keras: Conv2D, depthwise and separable convolution, pooling, batch norm, layer norm, attention
    keras_recurrent   Keras 3: Embedding with a mask, LSTM both ways, GRU, over texts of one length
    keras_open        the same over texts of any length; skein.json chooses one, longer than the texts of golden.json: what is behind a
                      text is masked, and changes nothing
    bert              transformers' TFBertForSequenceClassification, small and random
    gpt2              transformers' TFGPT2LMHeadModel, small and random, one pass without cache
    bert_spans, bert_fill, bert_answer   the models of testdata/models of these names, by transformers' TensorFlow classes, with their settings,
                      and the tokenizer among the assets: what they answer stands in testdata/models
    ops_1 … ops_3     one signature for each operation of a table
    ops_4             rarer operations, and inputs at which a simple mapping would differ
    bert_saved, encoders   only when they are named: what transformers itself saves, and other families of it
    refused           signatures with what is refused: a loop, a table, a string operation, an assignment
"""

import argparse
import base64
import functools
import json
import os
import pathlib
import shutil

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # transformers needs Keras 2; Keras 3 is imported by its own name

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
F32, I32, I64 = tf.float32, tf.int32, tf.int64


def array(a):
    a = np.asarray(a, order="C")
    return {"dtype": a.dtype.name, "shape": list(a.shape), "data": base64.b64encode(a.tobytes()).decode()}


def golden(folder, cases):
    """Writes golden.json; cases are (signature, inputs, outputs) of numpy arrays by name."""
    body = {"cases": [{"signature": s, "inputs": {k: array(v) for k, v in i.items()},
                       "outputs": {k: array(v) for k, v in o.items()}} for s, i, o in cases]}
    (folder / "golden.json").write_text(json.dumps(body, sort_keys=True) + "\n")


def served(folder, inputs):
    """What the loaded model answers: the outputs for each (signature, inputs)."""
    loaded = tf.saved_model.load(str(folder))
    cases = []
    for key, given in inputs:
        out = loaded.signatures[key](**{k: tf.constant(v) for k, v in given.items()})
        cases.append((key, given, {k: v.numpy() for k, v in out.items()}))
    golden(folder, cases)


def half_plus_two(folder):
    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.a = tf.Variable(0.5, name="a")
            self.b = tf.Variable(2.0, name="b")

        @tf.function(input_signature=[tf.TensorSpec([None, 1], F32, "x")])
        def serve(self, x):
            return {"y": self.a * x + self.b}

    m = Model()
    tf.saved_model.save(m, str(folder), signatures={"serving_default": m.serve})
    served(folder, [("serving_default", {"x": np.array([[1], [2.5], [-4]], np.float32)})])


def half_plus_two_v1(folder):
    asset = folder.parent / "foo.txt"
    asset.write_text("asset\n")
    with v1.Graph().as_default(), v1.Session() as s:
        example = v1.placeholder(tf.string, name="tf_example")
        parsed = v1.parse_example(example, {"x": v1.FixedLenFeature([1], F32)})
        x = v1.placeholder(F32, [None, 1], "x")
        a = v1.get_variable("a", initializer=0.5, use_resource=False)
        b = v1.get_variable("b", initializer=2.0, use_resource=False)
        y = v1.add(v1.multiply(a, x), b, name="y")
        y2 = v1.add(v1.multiply(a, parsed["x"]), b, name="y2")
        name = v1.constant(str(asset))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, name)
        s.run(v1.global_variables_initializer())
        build = v1.saved_model.builder.SavedModelBuilder(str(folder))
        info = v1.saved_model.build_tensor_info
        define = v1.saved_model.signature_def_utils.build_signature_def
        build.add_meta_graph_and_variables(s, ["serve"], assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS), signature_def_map={
            "serving_default": define({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
            "regress": define({"inputs": info(example)}, {"outputs": info(y2)}, "tensorflow/serving/regress")})
        build.save()
        value = np.array([[3], [0], [-1]], np.float32)
        cases = [("serving_default", {"x": value}, {"y": s.run(y, {x: value})})]
    asset.unlink()
    golden(folder, cases)


def resource_v1(folder):
    rng = np.random.default_rng(3)
    with v1.Graph().as_default(), v1.Session() as s:
        x = v1.placeholder(F32, [None, 4], "x")
        w = v1.get_variable("dense/w", initializer=rng.normal(size=(4, 3)).astype(np.float32), use_resource=True)
        b = v1.get_variable("dense/b", initializer=rng.normal(size=3).astype(np.float32), use_resource=True)
        v1.get_variable("step", initializer=np.int64(7), use_resource=True)
        y = v1.nn.softmax(v1.nn.bias_add(v1.matmul(x, w), b), name="y")
        s.run(v1.global_variables_initializer())
        saver = v1.train.Saver({"renamed/w": w, "renamed/b": b})
        build = v1.saved_model.builder.SavedModelBuilder(str(folder))
        info = v1.saved_model.build_tensor_info
        build.add_meta_graph_and_variables(s, ["serve"], saver=saver, signature_def_map={
            "serving_default": v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")})
        build.save()
        value = rng.normal(size=(5, 4)).astype(np.float32)
        golden(folder, [("serving_default", {"x": value}, {"y": s.run(y, {x: value})})])


def frozen_v1(folder):
    rng = np.random.default_rng(4)
    with v1.Graph().as_default(), v1.Session() as s:
        x = v1.placeholder(F32, [None, 8, 8, 3], "x")
        k = v1.constant(rng.normal(size=(3, 3, 3, 16)).astype(np.float32), name="kernel")
        h = v1.nn.relu6(v1.nn.conv2d(x, k, [1, 2, 2, 1], "SAME"))
        h = v1.nn.max_pool2d(h, 2, 2, "VALID")
        h = v1.reshape(h, [-1, 64])
        w = v1.constant(rng.normal(size=(64, 10)).astype(np.float32), name="weights")
        y = v1.identity(v1.nn.softmax(v1.matmul(h, w)), name="y")
        top = v1.argmax(y, axis=1, name="top")
        build = v1.saved_model.builder.SavedModelBuilder(str(folder))
        info = v1.saved_model.build_tensor_info
        build.add_meta_graph_and_variables(s, ["serve"], signature_def_map={
            "serving_default": v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(y), "top": info(top)}, "tensorflow/serving/predict")})
        build.save()
        value = rng.normal(size=(3, 8, 8, 3)).astype(np.float32)
        a, b = s.run([y, top], {x: value})
        golden(folder, [("serving_default", {"x": value}, {"y": a, "top": b})])


def training_v1(folder):
    rng = np.random.default_rng(11)
    with v1.Graph().as_default(), v1.Session() as s:
        x = v1.placeholder(F32, [None, 6], "x")
        training = v1.placeholder_with_default(False, [], "training")
        v1.disable_control_flow_v2()
        h = v1.layers.dense(x, 5, activation=v1.nn.relu)
        h = v1.layers.batch_normalization(h, training=training)
        h = v1.layers.dropout(h, training=training)
        y = v1.cond(v1.logical_not(training), lambda: h * 2, lambda: h + v1.random_normal([5]), name="y")
        s.run(v1.global_variables_initializer())
        build = v1.saved_model.builder.SavedModelBuilder(str(folder))
        info = v1.saved_model.build_tensor_info
        build.add_meta_graph_and_variables(s, ["serve"], signature_def_map={
            "serving_default": v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")})
        build.save()
        v1.enable_control_flow_v2()
        value = rng.normal(size=(3, 6)).astype(np.float32)
        golden(folder, [("serving_default", {"x": value}, {"y": s.run(y, {x: value})})])


def keras_text(folder):
    import tf_keras as keras
    keras.utils.set_random_seed(5)
    m = keras.Sequential([
        keras.layers.Embedding(200, 16, input_length=12, mask_zero=True),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(4, activation="softmax"),
    ])
    m.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    ids = np.random.default_rng(5).integers(0, 200, (64, 12))
    m.fit(ids, ids[:, 0] % 4, epochs=1, verbose=0)
    m.save(str(folder), save_format="tf")
    served(folder, [("serving_default", {"embedding_input": ids[:3].astype(np.float32)})])


def keras_conv(folder):
    import keras
    keras.utils.set_random_seed(6)
    m = keras.Sequential([
        keras.layers.Input((20,), dtype="int32", name="ids"),
        keras.layers.Embedding(100, 16),
        keras.layers.Conv1D(24, 3, padding="same", activation="gelu"),
        keras.layers.MaxPooling1D(2),
        keras.layers.BatchNormalization(),
        keras.layers.Conv1D(16, 3, strides=2, dilation_rate=1, activation="elu"),
        keras.layers.LayerNormalization(),
        keras.layers.Conv1D(8, 2, dilation_rate=2, padding="causal", activation="relu"),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(3, activation="sigmoid"),
    ])
    ids = np.random.default_rng(6).integers(0, 100, (4, 20)).astype(np.int32)
    m.compile(optimizer="sgd", loss="mse")
    m.fit(ids, np.zeros((4, 3)), epochs=2, verbose=0)
    m.export(str(folder), verbose=False)
    loaded = tf.saved_model.load(str(folder))
    name = next(iter(loaded.signatures["serving_default"].structured_input_signature[1]))
    served(folder, [("serving_default", {name: ids})])


def keras_image(folder):
    import tf_keras as keras
    keras.utils.set_random_seed(7)
    x = inp = keras.layers.Input((12, 12, 3), name="image")
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="valid", activation="swish")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.SeparableConv2D(8, 3, padding="same", activation="selu")(x)
    x = keras.layers.AveragePooling2D(2, padding="same")(x)
    x = keras.layers.Reshape((9, 8))(x)
    x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 4)(x, x)])
    x = keras.layers.LayerNormalization()(x)
    x = keras.layers.PReLU()(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(5, activation="softplus")(x)
    m = keras.Model(inp, x)
    v = np.random.default_rng(7).normal(size=(2, 12, 12, 3)).astype(np.float32)
    m.compile(optimizer="sgd", loss="mse")
    m.fit(v, np.zeros((2, 5)), epochs=2, verbose=0)
    s = module(m, lambda image: {"y": m(image, training=False)}, [tf.TensorSpec([None, 12, 12, 3], F32, "image")])
    tf.saved_model.save(s, str(folder), signatures={"serving_default": s.serve})
    served(folder, [("serving_default", {"image": v})])


def keras_open(folder):
    keras_recurrent(folder, None)
    (folder / "skein.json").write_text(json.dumps({"shapes": {"ids": [-1, 12]}}) + "\n")


def keras_recurrent(folder, length=9):
    import keras
    keras.utils.set_random_seed(10)
    x = inp = keras.layers.Input((length,), dtype="int32", name="ids")
    x = keras.layers.Embedding(60, 8, mask_zero=True)(x)
    x = keras.layers.Bidirectional(keras.layers.LSTM(6, return_sequences=True))(x)
    x = keras.layers.GRU(5)(x)
    m = keras.Model(inp, keras.layers.Dense(3, activation="softmax")(x))
    s = module(m, lambda ids: {"y": m(ids, training=False)}, [tf.TensorSpec([None, length], I32, "ids")])
    tf.saved_model.save(s, str(folder), signatures={"serving_default": s.serve})
    ids = np.random.default_rng(10).integers(1, 60, (3, 9)).astype(np.int32)
    ids[1, 4:] = 0
    served(folder, [("serving_default", {"ids": ids})])


def module(model, function, specs):
    """A model with one traced function and no other; what Keras traces for training would be a megabyte."""
    m = tf.Module()
    m.parts = list(model.variables)
    m.serve = tf.function(function, input_signature=specs)
    return m


def bert(folder):
    from transformers import BertConfig, TFBertForSequenceClassification
    tf.random.set_seed(8)
    c = BertConfig(vocab_size=120, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
                   max_position_embeddings=64, num_labels=3, initializer_range=0.5)
    model = TFBertForSequenceClassification(c)
    model(model.dummy_inputs)
    spec = [tf.TensorSpec([None, None], I32, n) for n in ("input_ids", "attention_mask", "token_type_ids")]

    def serve(input_ids, attention_mask, token_type_ids):
        out = model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, output_hidden_states=True)
        return {"logits": out.logits, "hidden": out.hidden_states[-1]}

    m = module(model, serve, spec)
    tf.saved_model.save(m, str(folder), signatures={"serving_default": m.serve})
    rng = np.random.default_rng(8)
    cases = []
    for rows, length in ((1, 1), (3, 17)):
        mask = np.ones((rows, length), np.int32)
        if rows > 1:
            mask[1, 9:] = 0
        cases.append(("serving_default", {"input_ids": rng.integers(0, 120, (rows, length)).astype(np.int32), "attention_mask": mask,
                                          "token_type_ids": rng.integers(0, 2, (rows, length)).astype(np.int32)}))
    served(folder, cases)


def same(folder, name, kind, outputs):
    """A model of testdata/models in TensorFlow: the same weights, and so the same answers."""
    import transformers as hf
    source = pathlib.Path("testdata/models") / name
    model = getattr(hf, kind).from_pretrained(source)
    spec = [tf.TensorSpec([None, None], I32, n) for n in ("input_ids", "attention_mask", "token_type_ids")]

    def serve(input_ids, attention_mask, token_type_ids):
        out = model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return {o: out[o] for o in outputs}

    m = module(model, serve, spec)
    tf.saved_model.save(m, str(folder), signatures={"serving_default": m.serve})
    (folder / "assets").mkdir(exist_ok=True)
    for file, to in (("config.json", "."), ("tokenizer.json", "assets"), ("tokenizer_config.json", "assets")):
        shutil.copy(source / file, folder / to / file)
    ids = np.random.default_rng(8).integers(5, 120, (2, 7)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    served(folder, [("serving_default", {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})])


bert_spans = functools.partial(same, name="bert-spans", kind="TFBertForTokenClassification", outputs=["logits"])
bert_fill = functools.partial(same, name="bert-fill", kind="TFBertForMaskedLM", outputs=["logits"])
bert_answer = functools.partial(same, name="bert-answer", kind="TFBertForQuestionAnswering", outputs=["start_logits", "end_logits"])


def bert_saved(folder):
    """The same as transformers itself saves it, megabytes of traced functions: not committed."""
    from transformers import BertConfig, TFBertForSequenceClassification
    tf.random.set_seed(8)
    c = BertConfig(vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                   max_position_embeddings=64, num_labels=3, initializer_range=0.5)
    model = TFBertForSequenceClassification(c)
    model(model.dummy_inputs)
    away = folder.parent / (folder.name + "-hf")
    model.save_pretrained(str(away), saved_model=True)
    shutil.move(str(away / "saved_model" / "1"), str(folder))
    shutil.rmtree(away)
    rng = np.random.default_rng(8)
    ids = rng.integers(0, 120, (2, 9)).astype(np.int32)
    served(folder, [("serving_default", {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})])


def encoder(folder, name):
    """A small random model of another family of transformers, for the long tests: not committed."""
    import transformers as hf
    tf.random.set_seed(1)
    usual = dict(vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, max_position_embeddings=40)
    make = {
        "roberta": lambda: hf.TFRobertaForSequenceClassification(hf.RobertaConfig(**usual)),
        "distilbert": lambda: hf.TFDistilBertForSequenceClassification(
            hf.DistilBertConfig(vocab_size=100, dim=32, n_layers=1, n_heads=4, hidden_dim=64, max_position_embeddings=40)),
        "electra": lambda: hf.TFElectraForTokenClassification(hf.ElectraConfig(**usual, embedding_size=16)),
        "albert": lambda: hf.TFAlbertModel(hf.AlbertConfig(**usual, embedding_size=16)),
        "mpnet": lambda: hf.TFMPNetModel(hf.MPNetConfig(**usual)),
        "bert_mlm": lambda: hf.TFBertForMaskedLM(hf.BertConfig(**usual)),
        "bert_qa": lambda: hf.TFBertForQuestionAnswering(hf.BertConfig(**usual)),
        "mobilebert": lambda: hf.TFMobileBertModel(hf.MobileBertConfig(**usual, embedding_size=16, intra_bottleneck_size=32)),
        "t5": lambda: hf.TFT5EncoderModel(hf.T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)),
        "flaubert": lambda: hf.TFFlaubertModel(hf.FlaubertConfig(vocab_size=100, emb_dim=32, n_layers=1, n_heads=4, max_position_embeddings=40)),
        "xlnet": lambda: hf.TFXLNetModel(hf.XLNetConfig(vocab_size=100, d_model=32, n_layer=1, n_head=4, d_inner=64)),
        "mistral": lambda: hf.TFMistralModel(hf.MistralConfig(**usual, num_key_value_heads=2, use_cache=False)),
        "gptj": lambda: hf.TFGPTJForCausalLM(hf.GPTJConfig(vocab_size=100, n_embd=32, n_layer=1, n_head=4, n_positions=40, rotary_dim=4, use_cache=False)),
    }
    model = make[name]()
    model(model.dummy_inputs)
    m = module(model, lambda input_ids, attention_mask: {"y": model(input_ids=input_ids, attention_mask=attention_mask)[0]},
               [tf.TensorSpec([None, None], I32, n) for n in ("input_ids", "attention_mask")])
    tf.saved_model.save(m, str(folder), signatures={"serving_default": m.serve})
    ids = np.random.default_rng(8).integers(5, 90, (2, 9)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[1, 6:] = 0
    served(folder, [("serving_default", {"input_ids": ids, "attention_mask": mask})])


encoders = ("roberta", "distilbert", "electra", "albert", "mpnet", "bert_mlm", "bert_qa", "mobilebert", "t5", "flaubert", "xlnet", "mistral", "gptj")


def gpt2(folder):
    from transformers import GPT2Config, TFGPT2LMHeadModel
    tf.random.set_seed(9)
    c = GPT2Config(vocab_size=150, n_positions=48, n_embd=32, n_layer=1, n_head=4, initializer_range=0.4)
    model = TFGPT2LMHeadModel(c)
    model(model.dummy_inputs)
    spec = [tf.TensorSpec([None, None], I32, n) for n in ("input_ids", "attention_mask")]

    def serve(input_ids, attention_mask):
        return {"logits": model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits}

    m = module(model, serve, spec)
    tf.saved_model.save(m, str(folder), signatures={"serving_default": m.serve})
    ids = np.random.default_rng(9).integers(0, 150, (2, 11)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    served(folder, [("serving_default", {"input_ids": ids, "attention_mask": mask})])


def large(folder):
    """400 MB of variables in a deep stack, for the benchmark of conversion."""
    m = tf.Module()
    m.w = [tf.Variable(tf.random.normal([1024, 1024], stddev=0.03), name=f"w{i}") for i in range(100)]

    @tf.function(input_signature=[tf.TensorSpec([None, 1024], F32, "x")])
    def serve(x):
        for w in m.w:
            x = tf.nn.relu(tf.matmul(x, w))
        return {"y": x}

    m.serve = serve
    tf.saved_model.save(m, str(folder), signatures={"serving_default": serve})
    served(folder, [("serving_default", {"x": np.ones((1, 1024), np.float32)})])


from savedmodel_ops import ops_1, ops_2, ops_3, ops_4, refused

models = {f.__name__: f for f in (half_plus_two, half_plus_two_v1, resource_v1, frozen_v1, training_v1, keras_text, keras_conv, keras_image, keras_recurrent, keras_open, bert, gpt2, ops_1, ops_2, ops_3, ops_4, refused)}
models |= {"bert_spans": bert_spans, "bert_fill": bert_fill, "bert_answer": bert_answer}
asked = {f.__name__: f for f in (bert_saved, large)} | {n: functools.partial(encoder, name=n) for n in encoders}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("convert/savedmodel/testdata/models"))
    p.add_argument("names", nargs="*", choices=[[], *models, *asked])
    a = p.parse_args()
    for name in a.names or models:
        folder = a.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        {**models, **asked}[name](folder)
        for n in ("keras_metadata.pb", "fingerprint.pb"):
            (folder / n).unlink(missing_ok=True)
        print(name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
