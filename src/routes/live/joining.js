// How to join: the fields to copy.

for (const button of document.querySelectorAll(".copy button")) {
  const field = button.previousElementSibling;
  button.setAttribute("aria-label", `Copy ${field.labels[0].textContent}`);
  button.onclick = () => {
    field.select();
    // The newer way is for pages that came over TLS.
    document.execCommand("copy");
    write(button, "Copied");
    say("Copied");
    setTimeout(write, 1500, button, "Copy");
  };
}
