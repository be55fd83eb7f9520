"use strict";
window.ui = SwaggerUIBundle({
  url: document.currentScript.dataset.url,
  dom_id: "#ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
