"""Trains examples/segment: a small BERT that cuts Chinese text into words.

Usage, from the root of the repository:

    .venv/bin/python tools/py/train_segment.py           # trains, then writes examples/segment
    .venv/bin/python tools/py/train_segment.py --check   # scores the folder that is there

Sentences are generated from the words and sentence forms below. Characters are labelled B, M, E and S: they begin a word,
stand within it, end it, or are one. What is held out are sentences, and a part of the words in most of their forms; words
that share characters at their borders (研究生命: 研究 生命, never 研究生) are among both.
"""

import argparse
import json
import pathlib
import random
import re
import time

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForTokenClassification, AutoTokenizer, BertConfig, BertForTokenClassification, pipeline

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parents[1] / "examples" / "segment"
LABELS = ["B", "M", "E", "S"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONTEXT = 128
HELD = 300  # sentences

WORDS = {
    "who": "我 你 他 她 我们 你们 他们 她们 大家 老师 学生 医生 工程师 科学家 研究生 服务员 司机 朋友 同事 邻居 妈妈 爸爸 孩子 经理 老板 记者 "
           "农民 工人 律师 画家 作家 音乐家 运动员 大学生 小学生 中学生 图书管理员 程序员 数据分析师 张三 李四 王小明",
    "when": "今天 昨天 明天 早上 晚上 中午 下午 现在 刚才 最近 以后 去年 今年 明年 星期一 星期天 上个月 下个月 春天 夏天 秋天 冬天 每天 周末 "
            "二〇二四年 三点钟",
    "where": "北京 上海 南京市 中国 公园 学校 图书馆 医院 办公室 家里 实验室 车站 机场 火车站 海边 城市 农村 工厂 商店 超级市场 饭馆 宿舍 "
             "电影院 体育馆 博物馆 长江大桥 数据中心 机房",
    "thing": "书 报纸 电脑 手机 汽车 自行车 苹果 香蕉 面包 牛奶 咖啡 茶 米饭 饺子 衣服 和服 鞋子 雨伞 照片 电影 音乐 故事 问题 答案 机器 "
             "服务器 显卡 模型 语言模型 数据 数据库 网络 程序 文件 报告 信 礼物 桌子 椅子 电视机 洗衣机 空调 房子 花 树 猫 狗 生命 "
             "起源 人工智能 互联网 操作系统 内存",
    "do": "看 买 卖 吃 喝 穿 写 读 用 找 修 修理 研究 学习 讨论 使用 训练 部署 打开 关闭 检查 准备 喜欢 需要 发现 解决 介绍 分析 管理 "
          "带 送 洗 画 听 看见 购买 下载 设计 制造",
    "go": "去 来 到 回 离开 参观 住在 到达",
    "how": "很 非常 已经 正在 常常 总是 马上 终于 也 都 还 不 没有 一定 可能 大概 慢慢地 认真地 高兴地 一起",
    "is": "是 不是 成为 当",
    "good": "好 大 小 新 旧 漂亮 聪明 便宜 贵 重要 复杂 简单 有意思 高兴 忙 快 慢 热 冷 干净 方便 安全 有名 困难",
    "count": "一 两 三 四 五 十 几 一百 许多",
    "unit": "个 本 台 辆 张 件 只 块 杯 把",
    "with": "和 跟 与",
    "end": "。 ！ ？ 了。 吗？ 吧。 呢？",
}
FORMS = """
who when how do thing end
when who 在 where do thing end
who with who 一起 go where end
who do 的 thing how good end
who 把 thing 送给 who 了。
who is 一 个 good 的 who end
where 的 thing 比 where 的 how good end
who do 了 count unit thing end
when who how go where ， 因为 thing how good end
如果 who 不 do thing ， who 就 go where end
who 从 where 到 where 要 count 个 小时 。
thing 在 where 里 被 who do 了。
虽然 thing how good ， 但是 who how do end
who 说 ： “ thing how good ” 。
这 unit thing is who 的 end
那 count unit thing how good end
请 who do thing end
who 对 thing how 感兴趣 end
who 想 do thing 还是 do thing ？
GPU 上 的 模型 how good end
who 用 AI do thing end
""".strip().splitlines()
# Where words share characters at their borders: one of several readings is right.
BORDERS = """
who 研究 生命 的 起源 end
研究生 when 在 where do thing end
who 研究 生物 和 生命 end
她 穿 和服 go where end
who 和 服务员 do thing end
结婚 的 和 尚未 结婚 的 who how 来 end
南京市 长江 大桥 how good end
南京市 市长 when go where end
who 从小 学 计算机 end
who 从 小学 毕业 了。
发展 中 国家 的 thing how good end
中国 的 城市 how good end
who 在 上 海边 的 路 end
who 在 上海 do thing end
学生 活动 when 在 where 开始 end
学 生活 的 道理 how good end
这 台 机器 人 不 能 用 end
机器人 how do thing end
人民 生活 how good end
有 意见 分歧 的 who how good end
他 说 的 确实 有意思 end
这 的确 how good end
who 白天 鹅 都 看见 了。
白天鹅 在 where 里 end
乒乓球 拍 卖 完 了。
拍卖 会 when 在 where 开始 end
""".strip().splitlines()


def lists():
    return {kind: text.split() for kind, text in WORDS.items()}


def sentence(rng, words, form):
    """Returns the words of a sentence."""
    out = []
    for part in form.split():
        for word in re.findall(r"[A-Z]+|.+", rng.choice(words[part]) if part in words else part):
            # A mark at the end is a word of its own.
            out += [w for w in re.split(r"([。！？，])", word) if w]
    return out


class Sentences:
    """Draws sentences; words that are held out stand in a quarter of the forms only."""

    def __init__(self, words, held):
        rng = random.Random(7)
        self.words, self.held = words, held
        self.rare = {kind: set(rng.sample(group, len(group) // 6)) if len(group) > 20 else set() for kind, group in words.items()}
        self.common = {kind: [w for w in group if w not in self.rare[kind]] for kind, group in words.items()}

    def draw(self, rng):
        while True:
            if rng.random() < 0.35:
                found = sentence(rng, self.words, rng.choice(BORDERS))
            else:
                form = rng.randrange(len(FORMS))
                found = sentence(rng, self.words if form % 4 == 0 else self.common, FORMS[form])
            if "".join(found) not in self.held:
                return found


def build_vocab(words):
    characters = {c for form in FORMS + BORDERS for part in form.split() if part not in words for c in part}
    characters |= {c for group in words.values() for w in group for c in w}
    extra = "0123456789，。！？：“”、；（）《》"
    ordered = SPECIAL + ["gpu", "ai"] + sorted(characters - set("GPUAI") | set(extra)) + [chr(c) for c in range(97, 123)] + \
        ["##" + chr(c) for c in range(97, 123)] + ["##" + c for c in "0123456789"]
    return {w: i for i, w in enumerate(dict.fromkeys(ordered))}


def build_tokenizer(vocab):
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[(t, vocab[t]) for t in ("[CLS]", "[SEP]")])
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def labelled(tokenizer, words):
    """Returns ids and the label of each, −100 for the template's."""
    encoding = tokenizer.encode("".join(words))
    at = {}
    place = 0
    for word in words:
        for i in range(len(word)):
            at[place + i] = (place, place + len(word))
        place += len(word)
    labels = []
    for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask):
        if special:
            labels.append(-100)
            continue
        first, last = at[start]
        labels.append(3 if (start, end) == (first, last) else 0 if start == first else 2 if end == last else 1)
    return encoding.ids, labels


def pad(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def train(args):
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    words = lists()
    held, rng = {}, random.Random(3)
    while len(held) < HELD:
        form = rng.choice(FORMS + BORDERS)
        found = sentence(rng, words, form)
        held["".join(found)] = found
    sentences = Sentences(words, held)
    vocab = build_vocab(words)
    tokenizer = build_tokenizer(vocab)
    model = BertForTokenClassification(BertConfig(
        vocab_size=len(vocab), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=CONTEXT, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, pad_token_id=0,
        id2label=dict(enumerate(LABELS)), label2id={l: i for i, l in enumerate(LABELS)}, attn_implementation="eager"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    rng, began, running = random.Random(4), time.monotonic(), 1.4
    for step in range(args.steps):
        optimizer.param_groups[0]["lr"] = args.lr * min(1.0, (step + 1) / 100, (args.steps - step) / (args.steps / 2))
        rows = [labelled(tokenizer, sentences.draw(rng)) for _ in range(args.batch)]
        ids = pad([r[0] for r in rows], 0)
        # Some characters are hidden, so that a word is known by its neighbours too.
        hidden = torch.where((torch.rand(ids.shape) < 0.06) & (ids >= len(SPECIAL)), SPECIAL.index("[UNK]"), ids)
        logits = model(hidden, attention_mask=(ids != 0).long()).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), pad([r[1] for r in rows], -100).flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        running = 0.95 * running + 0.05 * loss.item()
        if step % 100 == 99:
            print(f"{step + 1} {time.monotonic() - began:.0f} s loss {running:.4f}", flush=True)
    write_folder(model, tokenizer, vocab, held, words, args)


def write_folder(model, tokenizer, vocab, held, words, args):
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "vocab.txt").write_text("".join(w + "\n" for w in vocab))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT, "pad_token": "[PAD]",
        "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}, indent=2) + "\n")
    with open(out / "heldout.jsonl", "w") as f:
        for text, found in held.items():
            f.write(json.dumps({"text": text, "words": found}, ensure_ascii=False) + "\n")
    right, f1 = check(out)
    (out / "README.md").write_text(README.format(
        right=right, asked=len(held), f1=100 * f1, steps=args.steps, batch=args.batch, forms=len(FORMS) + len(BORDERS),
        words=len({w for group in words.values() for w in group}), parameters=sum(p.numel() for p in model.parameters())))


def join(found):
    """Words of the labels of tokens, as [start, end)."""
    words = []
    for e in found:
        if not words or e["entity"] in ("B", "S") or words[-1][2] in ("E", "S"):
            words.append([e["start"], e["end"], e["entity"]])
        words[-1][1:] = [e["end"], e["entity"]]
    return {(start, end) for start, end, _ in words}


def check(out):
    """Reloads the folder as a user would and scores it: sentences that are right throughout, and F1 of words."""
    label = pipeline("token-classification", model=AutoModelForTokenClassification.from_pretrained(out), tokenizer=AutoTokenizer.from_pretrained(out))
    right = hits = found_n = want_n = 0
    lines = [json.loads(line) for line in open(out / "heldout.jsonl")]
    for line in lines:
        found, want, place = join(label(line["text"])), set(), 0
        for w in line["words"]:
            want.add((place, place + len(w)))
            place += len(w)
        right += found == want
        hits, found_n, want_n = hits + len(found & want), found_n + len(found), want_n + len(want)
        if found != want:
            print("  ", " ".join(line["words"]), "|", " ".join(line["text"][a:b] for a, b in sorted(found)))
    f1 = 2 * hits / (found_n + want_n)
    print(f"{right} of {len(lines)} sentences, F1 of words {f1:.4f}", flush=True)
    return right, f1


README = """\
# segment

A BERT of 2 blocks and {parameters:,} parameters (fp32) that cuts Chinese text into words: it labels each character as the
beginning (B), the middle (M) or the end (E) of a word, or as a word (S).

    她们研究生命的起源。      -> 她们 研究 生命 的 起源 。
    研究生晚上在图书馆看书。  -> 研究生 晚上 在 图书馆 看 书 。

Held-out score: {right} of {asked} sentences are right throughout, F1 of words {f1:.2f} % (`heldout.jsonl`).

Trained from nothing by `tools/py/train_segment.py` on sentences generated from {words} words and {forms} forms: {steps} steps of
{batch} sentences, with characters hidden. It has read nothing but those: an example of the task, no tool for real texts.

Licence: same as the project.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--check", action="store_true", help="score the folder instead of training")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.check:
        check(pathlib.Path(args.out))
    else:
        train(args)


if __name__ == "__main__":
    main()
