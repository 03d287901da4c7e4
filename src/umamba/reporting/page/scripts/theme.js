/** The light and the dark theme: that of the system, until the reader chooses one. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let own = null;

  const apply = () => {
    const theme = own ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    page.set("theme", theme);
  };

  const button = page.make("button", {
    type: "button",
    id: "theme",
    on: {
      click() {
        own = page.get("theme") === "dark" ? "light" : "dark";
        apply();
      },
    },
  });
  page.on("theme", (theme) => {
    button.textContent = theme === "dark" ? "Light theme" : "Dark theme";
  });
  system.addEventListener("change", apply);
  document.documentElement.classList.add("scripted");
  document.getElementById("toolbar").append(button);
  apply();
})();
