// Stands for an advertising tag: it keeps an id, shows something, and can be told to stop.
document.cookie = `_ads_id=${Date.now()}; Path=/; SameSite=Lax`;
const place = document.getElementById("ad");
place.textContent = "Advertisement: glazes that last. Chosen for you by a make-believe network.";
place.hidden = false;
(window.demoTags ??= {}).ads = {
  stop() {
    place.hidden = true;
    delete window.demoTags.ads;
  },
};
