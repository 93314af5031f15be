// Stands for an analytics tag: it knows a returning visitor by a cookie, and can be told to stop.
document.cookie = `_count=${Date.now()}; Path=/; SameSite=Lax`;
(window.demoTags ??= {}).counter = {
  stop() {
    delete window.demoTags.counter;
  },
};
